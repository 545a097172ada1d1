"""Many callers at once, cancelled callers, forks, loops that come and go, and the helpers flows use."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from zdd_sdk.errors import StoreUnavailable
from zdd_sdk.store import Call, finish, trip
from zdd_sdk.store.aio import AsyncioStore
from zdd_sdk.store.aio_link import AsyncioLink
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.testing.flow import Flow
from zdd_sdk.testing.tap import RespTap

from .conftest import command, count

OpenStores = Callable[..., Stores]


def test_a_cancelled_caller_leaves_nobody_elses_reply_behind(
    open_stores: OpenStores, real_engine: Engine, open_tap: Callable[[str], RespTap]
) -> None:
    tap = open_tap(real_engine.url)
    stores = open_stores(tap.url, pool_size=2)
    assert asyncio.run(_cancel_and_ask(stores, tap)) == []
    assert stores.available


def test_negative_control_a_pool_that_takes_every_connection_back_mixes_replies(
    open_stores: OpenStores,
    real_engine: Engine,
    open_tap: Callable[[str], RespTap],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tap = open_tap(real_engine.url)
    monkeypatch.setattr(trip, "_settle", lambda parcel, network: parcel.link and network.give(parcel.link))
    monkeypatch.setattr(AsyncioLink, "fresh", _always)
    assert asyncio.run(_cancel_and_ask(open_stores(tap.url, pool_size=2), tap)) != []


async def _always(_: AsyncioLink) -> bool:
    return True


async def _cancel_and_ask(stores: Stores, tap: RespTap) -> list[Any]:
    """What callers got that was not theirs, after others had been cancelled at every stage of an ask."""
    wrong: list[Any] = []
    await stores.aio.ask(command("SET", "{a}", "secret of another"), command("SET", "{b}", "mine"))
    for wait in (0.0, 0.001, 0.01, 0.03):
        tap.delay(0.02)
        victims = [asyncio.ensure_future(stores.aio.ask(command("GET", "{a}"))) for _ in range(8)]
        await asyncio.sleep(wait)
        for victim in victims:
            victim.cancel()
        await asyncio.gather(*victims, return_exceptions=True)
        tap.heal()
        for _ in range(6):
            answer = await stores.aio.ask(command("GET", "{b}"), command("PING"))
            wrong += [answer] if answer != (b"mine", b"PONG") else []
    return wrong


def test_a_caller_cancelled_while_connecting_gives_its_place_back(open_stores: OpenStores, real_engine: Engine) -> None:
    stores = open_stores(real_engine.url, pool_size=1)

    async def main() -> None:
        for _ in range(20):
            task = asyncio.ensure_future(stores.aio.ask(count()))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await stores.aio.ask(command("PING")) == (b"PONG",)

    asyncio.run(main())


def test_a_caller_cancelled_while_waiting_for_a_place_loses_it_to_nobody(
    open_stores: OpenStores, real_engine: Engine, open_tap: Callable[[str], RespTap]
) -> None:
    tap = open_tap(real_engine.url)
    stores = open_stores(tap.url, pool_size=1)

    async def main() -> None:
        await stores.aio.ask(command("PING"))
        tap.delay(0.02)
        tasks = [asyncio.ensure_future(stores.aio.ask(command("PING"))) for _ in range(10)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tap.heal()
        assert await asyncio.gather(*(stores.aio.ask(command("PING")) for _ in range(5)))

    asyncio.run(main())


def test_each_loop_has_its_own_connections_and_closes_them(
    open_stores: OpenStores, real_engine: Engine, open_tap: Callable[[str], RespTap]
) -> None:
    tap = open_tap(real_engine.url)
    stores = open_stores(tap.url)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(1, 4):
            assert asyncio.run(stores.aio.ask(count())) == (number,)
            gc.collect()
    assert tap.connections == 3
    deadline = time.monotonic() + 5
    while tap._links and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not tap._links


def test_loops_in_threads_and_threads_share_one_store(open_stores: OpenStores, real_engine: Engine) -> None:
    stores = open_stores(real_engine.url, operation_timeout=5.0, total_timeout=10.0)
    failures: list[BaseException] = []

    async def some() -> None:
        await asyncio.gather(*(stores.aio.ask(count()) for _ in range(25)))

    def loop() -> None:
        try:
            asyncio.run(some())
            for _ in range(25):
                finish(stores.blocking.ask(count()))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert int(real_engine.ask("GET", "{n}")) == 200


def test_the_blocking_store_works_inside_a_running_loop(open_stores: OpenStores, real_engine: Engine) -> None:
    stores = open_stores(real_engine.url)

    async def view() -> int:
        return finish(stores.blocking.ask(count()))[0]

    assert asyncio.run(view()) == 1


def test_a_forked_child_opens_connections_of_its_own(
    open_stores: OpenStores, real_engine: Engine, open_tap: Callable[[str], RespTap]
) -> None:
    tap = open_tap(real_engine.url)
    stores = open_stores(tap.url)
    finish(stores.blocking.ask(command("SET", "{k}", "parent")))
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: that is the point
        pid = os.fork()
    if pid == 0:
        answer = b"failed"
        try:
            for _ in range(20):
                got = finish(stores.blocking.ask(command("GET", "{k}"), count("{child}")))
            answer = b"%s %d" % (got[0], got[1])
            answer += b" %d" % asyncio.run(stores.aio.ask(count("{child}")))[0]
        finally:
            os.write(write, answer)
            os._exit(0)
    for _ in range(20):
        assert finish(stores.blocking.ask(command("GET", "{k}"))) == (b"parent",)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"parent 20 21"
    os.close(read)
    os.close(write)
    assert tap.connections == 3
    assert finish(stores.blocking.ask(command("GET", "{k}"))) == (b"parent",)


def test_importing_and_building_stores_imports_no_redis_and_connects_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from zdd_sdk.settings import StoreSettings\n"
        "from zdd_sdk.store import Keys\n"
        "from zdd_sdk.store.connect import Stores\n"
        "s = Stores(StoreSettings(redis_url='redis://127.0.0.1:1'), Keys('a', 'b'))\n"
        "s.blocking, s.check()\n"
        "assert 'redis' not in sys.modules and 'asyncio' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_user_function_is_called_and_awaited_where_that_can_be(flow: Flow) -> None:
    def plain(a: int, *, b: int) -> int:
        return a + b

    async def coloured(a: int) -> int:
        return a

    assert flow(flow.store.run(plain, 1, b=2)) == 3
    if flow.kind == "asyncio":
        assert flow(flow.store.run(coloured, 1)) == 1
    else:
        with pytest.raises(TypeError, match=r"coloured is async"):
            flow(flow.store.run(coloured, 1))


def test_one_flight_serves_all_who_ask_at_the_same_time(flow: Flow) -> None:
    runs: list[int] = []

    async def fill() -> int:
        runs.append(1)
        await flow.store.sleep(0.2)
        return len(runs)

    results = flow.gather(*(flow.store.single_flight("k", fill) for _ in range(8)))
    assert results == [1] * 8
    assert flow(flow.store.single_flight("k", fill)) == 2


def test_a_flight_that_fails_fails_for_all_and_the_next_is_another(flow: Flow) -> None:
    async def crash() -> int:
        await flow.store.sleep(0.1)
        message = "no fill"
        raise KeyError(message)

    async def outcome() -> str:
        try:
            await flow.store.single_flight("k", crash)
        except KeyError:
            return "failed"
        return "ok"

    assert set(flow.gather(*(outcome() for _ in range(4)))) == {"failed"}
    assert flow(flow.store.single_flight("k", _answer)) == 42


async def _answer() -> int:
    return 42


def test_a_flight_that_asks_for_itself_does_not_wait_for_itself(open_stores: OpenStores, real_engine: Engine) -> None:
    store = open_stores(real_engine.url).blocking

    async def outer() -> int:
        return await store.single_flight("k", _answer)

    assert finish(store.single_flight("k", outer)) == 42


def test_a_cancelled_leader_takes_nothing_from_the_others(open_stores: OpenStores, real_engine: Engine) -> None:
    store = open_stores(real_engine.url).aio

    async def slow() -> int:
        await asyncio.sleep(0.05)
        return 1

    async def main() -> int:
        leader = asyncio.ensure_future(store.single_flight("k", slow))
        await asyncio.sleep(0.01)
        follower = asyncio.ensure_future(store.single_flight("k", slow))
        await asyncio.sleep(0)
        leader.cancel()
        return await follower

    assert asyncio.run(main()) == 1


def test_a_shielded_flow_ends_though_its_caller_is_cancelled(open_stores: OpenStores, real_engine: Engine) -> None:
    store = open_stores(real_engine.url).aio

    async def main() -> None:
        async def save() -> None:
            await asyncio.sleep(0.02)
            await store.ask(count("{saved}"))

        task = asyncio.ensure_future(store.shield(save()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)

    asyncio.run(main())
    assert int(real_engine.ask("GET", "{saved}")) == 1


def test_shield_returns_what_the_flow_returns(flow: Flow) -> None:
    assert flow(flow.store.shield(_answer())) == 42


def test_a_spawned_flow_runs_and_its_error_is_logged(flow: Flow, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        await flow.store.ask(count("{spawned}"))
        message = "in the background"
        raise RuntimeError(message)

    async def main() -> Any:
        flow.store.spawn(work())
        await flow.store.sleep(0.3)
        return await flow.store.ask(command("GET", "{spawned}"))

    with caplog.at_level(logging.ERROR, logger="zdd.store"):
        assert flow(main()) == (b"1",)
    assert "a background flow failed" in caplog.text


def test_both_colours_share_one_breaker(open_stores: OpenStores, real_engine: Engine) -> None:
    stores = open_stores(real_engine.url)
    call: Call[Any] = Call(lambda reply: reply, ("GET", "{k}"))
    stores._core.breaker.failed("refused")
    with pytest.raises(StoreUnavailable):
        finish(stores.blocking.ask(call))
    assert asyncio.run(stores.aio.ask(call, probe=True)) == (None,)
    assert finish(stores.blocking.ask(call)) == (None,)


def test_a_loop_that_is_gone_is_forgotten(open_stores: OpenStores, real_engine: Engine) -> None:
    import weakref

    stores = open_stores(real_engine.url)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await stores.aio.ask(command("PING"))

    asyncio.run(main())
    gc.collect()
    assert loops[0]() is None


def test_an_engine_of_our_own_that_died_is_found_again(
    open_flow: Callable[..., Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zdd_sdk.store import embedded

    with start_engine("auto") as first, start_engine("auto") as second:
        urls = [first.url, second.url]  # a busy machine may look more than once
        monkeypatch.setattr(embedded, "shared_engine", lambda *_: urls.pop(0) if len(urls) > 1 else urls[0])
        flow = open_flow(None)
        assert flow(flow.store.ask(command("SET", "{k}", "1"))) == (b"OK",)
        first.kill()
        answers: list[Any] = []
        deadline = time.monotonic() + 10
        while not answers and time.monotonic() < deadline:
            with contextlib.suppress(StoreUnavailable):
                answers += flow(flow.store.ask(command("GET", "{k}"), probe=True))
        assert answers == [None]
        assert urls == [second.url]


@pytest.mark.parametrize("login", ["", ":s3cret@"])
def test_a_unix_socket_is_served(open_flow: Callable[..., Flow], tmp_path: Any, login: str) -> None:
    path = tmp_path / "r.sock"
    arguments = ["--unixsocket", str(path), *(["--requirepass", "s3cret"] if login else [])]
    with start_engine("auto", args=arguments):
        flow = open_flow(f"unix://{login}{path}?db=1")
        for number in range(1, 4):
            assert flow(flow.store.ask(count())) == (number,)
    with pytest.raises(StoreUnavailable) as caught:
        flow(flow.store.ask(count()))
    assert caught.value.reason == "refused"


def test_the_breaker_says_once_that_redis_is_away_and_once_that_it_is_back(
    open_flow: Callable[..., Flow], real_engine: Engine, open_tap: Callable[[str], RespTap], caplog: Any
) -> None:
    def crash() -> None:
        message = "a listener of ours"
        raise RuntimeError(message)

    tap = open_tap(real_engine.url)
    flow = open_flow(tap.url, on_breaker_open=crash)
    tap.refuse()
    with caplog.at_level(logging.WARNING, logger="zdd.store"):
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                flow(flow.store.ask(command("PING"), probe=True))
        tap.heal()
        for _ in range(3):
            flow(flow.store.ask(command("PING"), probe=True))
    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if message.startswith("Redis is")] == [
        "Redis is away (refused): asks fail at once until a probe succeeds",
        "Redis is back",
    ]


@pytest.mark.parametrize("turns", range(1, 7))
def test_a_shielded_flow_ends_wherever_its_caller_is_cancelled(
    open_stores: OpenStores, real_engine: Engine, turns: int
) -> None:
    stores = open_stores(real_engine.url)
    ended: list[object] = []

    async def flow(store: AsyncioStore) -> None:
        await store.ask(_SET)
        await asyncio.sleep(0)
        ended.append(await store.ask(Call(read=bytes, command=("GET", "shielded"))))

    async def main() -> None:
        store = stores.aio
        task = asyncio.ensure_future(store.shield(flow(store)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if ended:
                break
            await asyncio.sleep(0.01)
        await store.close()

    asyncio.run(main())
    assert ended == [(b"yes",)]


_SET = Call(read=bool, command=("SET", "shielded", "yes"))
