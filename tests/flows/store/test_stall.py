"""A stalled event loop is not an absent Redis: the trap of ``traps.md``, and the client that falls into it."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
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


async def _asks_answered_during_a_stall(ask: Callable[[], Any], engine: Engine) -> list[BaseException]:
    """20 concurrent asks, all sent before the loop stands still for 300 ms; Redis answers in the middle of that."""
    engine.pause()
    answers = threading.Timer(0.1, engine.resume)
    try:
        tasks = [asyncio.ensure_future(ask()) for _ in range(ASKS)]
        await asyncio.sleep(0.02)
        answers.start()
        _burn(0.3)
    finally:
        answers.join()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


@pytest.mark.parametrize("again", [False, True])
def test_what_was_answered_while_the_loop_stood_still_is_read(
    run: Callable[[Any], Any], open_stores: Callable[..., Stores], real_engine: Engine, *, again: bool
) -> None:
    stores = open_stores(real_engine.url)

    async def main() -> list[BaseException]:
        await asyncio.gather(*(stores.aio.ask(command("PING")) for _ in range(ASKS)))
        return await _asks_answered_during_a_stall(lambda: stores.aio.ask(count(again=again)), real_engine)

    assert [] == run(main())
    assert ASKS == int(real_engine.ask("GET", "{n}"))
    assert stores.available


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


async def _naive(engine: Engine, retries: int) -> list[BaseException]:
    naive = _NaiveStore(engine.port, retries)
    await asyncio.gather(*(naive.client.ping() for _ in range(ASKS)))
    failures = await _asks_answered_during_a_stall(naive.count, engine)
    await naive.client.aclose()
    return failures


def test_negative_control_a_plain_timeout_calls_a_stall_an_absent_redis(real_engine: Engine) -> None:
    failures = asyncio.run(_naive(real_engine, 0))

    assert ASKS == int(real_engine.ask("GET", "{n}")), "every write ran"
    assert failures, "a plain timeout survived the stall: this harness proves nothing"
    assert isinstance(failures[0], TimeoutError)


def test_negative_control_a_plain_timeout_with_a_retry_runs_writes_twice(real_engine: Engine) -> None:
    failures = asyncio.run(_naive(real_engine, 1))

    assert [] == failures
    assert int(real_engine.ask("GET", "{n}")) > ASKS, "no write ran twice: this harness proves nothing"


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
