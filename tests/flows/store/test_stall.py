"""A stalled event loop is not an absent Redis: the trap of ``traps.md``, and the client that falls into it."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import pytest

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store import Store
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine

from .conftest import command, count

ASKS = 20


def _loops() -> list[Any]:
    factories: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factories.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
    return factories


@pytest.fixture(params=_loops())
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine on a fresh loop of either kind."""

    def run_one(coro: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coro)

    return run_one


def _burn(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def _asks_and_a_stall(ask: Callable[[], Any], stall: float, turns: int) -> list[BaseException]:
    """20 concurrent asks; when they are on their way one handler burns CPU."""
    tasks = [asyncio.ensure_future(ask()) for _ in range(ASKS)]
    for _ in range(turns):
        await asyncio.sleep(0)
    _burn(stall)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


@pytest.mark.parametrize(("stall", "turns"), [(0.3, 2), (0.3, 10), (1.0, 2), (1.0, 10)])
@pytest.mark.parametrize("again", [False, True])
def test_no_write_runs_twice_nothing_is_raised_and_the_breaker_stays_closed(
    run: Callable[[Any], Any],
    open_stores: Callable[..., Stores],
    real_engine: Engine,
    *,
    stall: float,
    turns: int,
    again: bool,
) -> None:
    woken: list[bool] = []
    stores = open_stores(real_engine.url, on_breaker_open=lambda: woken.append(True))

    async def main() -> list[BaseException]:
        await asyncio.gather(*(stores.aio.ask(command("PING")) for _ in range(ASKS)))
        return await _asks_and_a_stall(lambda: stores.aio.ask(count(again=again)), stall, turns)

    assert run(main()) == []
    assert int(real_engine.ask("GET", "{n}")) == ASKS
    assert (stores.available, woken) == (True, [])


def test_connecting_survives_a_stall_too(
    run: Callable[[Any], Any], open_stores: Callable[..., Stores], real_engine: Engine
) -> None:
    stores = open_stores(real_engine.url)
    assert run(_asks_and_a_stall(lambda: stores.aio.ask(count()), 1.0, 3)) == []
    assert int(real_engine.ask("GET", "{n}")) == ASKS


def test_stalls_in_a_row_do_not_add_up_to_an_absent_redis(
    run: Callable[[Any], Any], open_stores: Callable[..., Stores], real_engine: Engine
) -> None:
    stores = open_stores(real_engine.url)

    async def main() -> None:
        for _ in range(4):
            assert await _asks_and_a_stall(lambda: stores.aio.ask(count()), 0.25, 3) == []

    run(main())
    assert int(real_engine.ask("GET", "{n}")) == 4 * ASKS
    assert stores.available


def test_a_frozen_engine_is_still_found_out_on_a_loop_that_stutters(
    run: Callable[[Any], Any], open_stores: Callable[..., Stores], real_engine: Engine
) -> None:
    stores = open_stores(real_engine.url)

    async def stutter() -> None:
        while True:
            _burn(0.03)
            await asyncio.sleep(0.01)

    async def main() -> float:
        await stores.aio.ask(command("PING"))
        task = asyncio.ensure_future(stutter())
        real_engine.pause()
        began = time.perf_counter()
        try:
            with pytest.raises(StoreUnavailable):
                await stores.aio.ask(count())
        finally:
            real_engine.resume()
            task.cancel()
        return time.perf_counter() - began

    assert run(main()) < 2.0


class _NaiveStore:
    """What everybody writes first: a wall-clock timeout around the operation, and one retry."""

    def __init__(self, port: int, retries: int) -> None:
        import redis.asyncio as redis

        self.client = redis.Redis(port=port, max_connections=64)
        self.retries = retries

    async def count(self) -> None:
        for attempt in range(self.retries + 1):
            try:
                async with asyncio.timeout(0.2):
                    await self.client.incr("{n}")
            except TimeoutError:
                if attempt == self.retries:
                    raise
            else:
                return


async def _naive(port: int, retries: int, turns: int) -> list[BaseException]:
    naive = _NaiveStore(port, retries)
    await asyncio.gather(*(naive.client.ping() for _ in range(ASKS)))
    failures = await _asks_and_a_stall(naive.count, 0.3, turns)
    await naive.client.aclose()
    return failures


def test_negative_control_a_plain_timeout_calls_a_stall_an_absent_redis(real_engine: Engine) -> None:
    # Which asks are on their way when the loop stalls depends on how many turns it had, and on chance.
    for turns in 4 * list(range(3, 16)):
        failures = asyncio.run(_naive(real_engine.port, 0, turns))
        ran = int(real_engine.ask("GETDEL", "{n}") or 0)
        if failures and ran > ASKS - len(failures):
            assert isinstance(failures[0], TimeoutError)
            return
    pytest.fail("a plain timeout survived every stall: this harness proves nothing")


def test_negative_control_a_plain_timeout_with_a_retry_runs_writes_twice(real_engine: Engine) -> None:
    for turns in 4 * list(range(3, 16)):
        failures = asyncio.run(_naive(real_engine.port, 1, turns))
        if int(real_engine.ask("GETDEL", "{n}") or 0) > ASKS - len(failures):
            return
    pytest.fail("no write ran twice: this harness proves nothing")


def test_a_thread_that_could_not_run_finds_its_reply_waiting(
    open_stores: Callable[..., Stores], real_engine: Engine
) -> None:
    """The blocking store's deadline has passed when the thread gets to read: it looks once more."""
    from zdd_sdk.store import finish

    stores = open_stores(real_engine.url)
    store: Store = stores.blocking
    finish(store.ask(command("PING")))
    network = stores._core.blocking_network()
    give_up = network.start

    def start_late(links: Any, seconds: float, budget: Any) -> None:
        give_up(links, seconds, budget)
        for link in links:
            link.socket.deadline = time.monotonic() - 1.0

    network.start = start_late  # type: ignore[method-assign]
    outcomes = []
    for _ in range(50):
        try:
            outcomes.append(finish(store.ask(count()))[0])
        except StoreUnavailable as error:
            outcomes.append(error.reason)
    # A millisecond is enough for a local engine nearly always; without the last look it never would be.
    assert sum(isinstance(outcome, int) for outcome in outcomes) > 10
