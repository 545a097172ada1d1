"""The outer half, driven without a server."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from zdd_sdk.lifecycle import Lifecycle, State, activate
from zdd_sdk.lifecycle.asgi import OuterHalf, stop
from zdd_sdk.settings import LifecycleSettings


@pytest.fixture
def lifecycle(tmp_path: Path) -> Lifecycle:
    made = Lifecycle(LifecycleSettings(run_dir=str(tmp_path / "run")), service="shop", environment="test")
    made.adapter = "test"
    return made


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    headers = scope.get("test.headers", [])
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def _lifespan_only(scope: Any, receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _ask(app: Any, path: str = "/", **scope: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    full = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "headers": [], **scope}
    await app(full, None, send)
    return sent[0]["status"], list(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def _connection(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [value for name, value in headers if name.lower() == b"connection"]


@pytest.mark.parametrize("given", [[], [(b"Connection", b"keep-alive")], [(b"connection", b"close")] * 2])
def test_close_exactly_once_whatever_the_application_says(lifecycle: Lifecycle, given: list[Any]) -> None:
    async def main() -> None:
        app = OuterHalf(OuterHalf(_ok, lifecycle), lifecycle)
        _, headers, _ = await _ask(app, **{"test.headers": given})
        assert headers == given
        lifecycle.begin_drain("test")
        _, headers, _ = await _ask(app, **{"test.headers": given})
        assert _connection(headers) == [b"close"]
        _, headers, _ = await _ask(app, **{"test.headers": given, "http_version": "2"})
        assert headers == given

    asyncio.run(main())
    lifecycle.stop()


def test_a_request_in_flight_when_the_drain_begins_says_close(lifecycle: Lifecycle) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        assert lifecycle.in_flight == 1
        lifecycle.begin_drain("test")
        await _ok(scope, receive, send)

    _, headers, _ = asyncio.run(_ask(OuterHalf(slow, lifecycle)))
    assert _connection(headers) == [b"close"]
    assert lifecycle.in_flight == 0
    lifecycle.stop()


def test_in_flight_counts_down_when_the_application_raises(lifecycle: Lifecycle) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(_ask(OuterHalf(broken, lifecycle)))
    assert lifecycle.in_flight == 0
    lifecycle.stop()


def test_health_never_reaches_the_application(lifecycle: Lifecycle) -> None:
    async def main() -> None:
        app = OuterHalf(_ok, lifecycle)
        assert (await _ask(app, "/livez"))[0] == 200
        assert (await _ask(app, "/api/readyz", root_path="/api"))[0] == 503
        status, _, body = await _ask(app, "/livez", method="HEAD")
        assert (status, body) == (200, b"")
        assert (await _ask(app, "/livez", method="POST"))[2] == b"ok"
        assert (await _ask(app, "/jazz"))[2] == b"ok"

    asyncio.run(main())
    lifecycle.stop()


def test_a_server_without_lifespan_starts_with_the_first_request(lifecycle: Lifecycle) -> None:
    lifecycle.adapter = None
    asyncio.run(_ask(OuterHalf(_ok, lifecycle)))
    assert lifecycle.started
    assert lifecycle.state is State.READY
    lifecycle.stop()


def test_lifespan_starts_the_lifecycle_the_application_activates(lifecycle: Lifecycle, tmp_path: Path) -> None:
    other = Lifecycle(lifecycle.settings, service="other", environment="test")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        activate(other)
        await _lifespan_only(scope, receive, send)

    async def main() -> None:
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        for kind in ("startup", "shutdown"):
            inbox.put_nowait({"type": f"lifespan.{kind}"})
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append((message["type"], other.started, other.adapter))

        activate(lifecycle)
        outer = OuterHalf(app, lifecycle, follow=True)
        await outer({"type": "lifespan"}, inbox.get, send)
        assert outer.lifecycle is other
        assert sent[0] == ("lifespan.startup.complete", True, "test")
        assert not lifecycle.started

    asyncio.run(main())
    other.stop()


def test_async_stop_hooks_run_on_the_loop_which_goes_on(lifecycle: Lifecycle) -> None:
    seen: list[str] = []

    async def flush() -> None:
        await asyncio.sleep(0.05)
        seen.append("flushed")

    async def main() -> None:
        OuterHalf(_ok, lifecycle).start()
        lifecycle.on_stop(flush)
        ticker = asyncio.ensure_future(_tick(seen))
        await stop(lifecycle)
        ticker.cancel()

    asyncio.run(main())
    assert seen.index("flushed") > seen.index("tick")


async def _tick(seen: list[str]) -> None:
    while True:
        seen.append("tick")
        await asyncio.sleep(0.01)


def test_health_costs_far_less_than_a_millisecond(lifecycle: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        lifecycle.check(lambda: True, name=f"check-{number}")
    app = OuterHalf(_ok, lifecycle)

    async def main() -> float:
        await _ask(app, "/readyz")
        began = time.thread_time()
        for _ in range(2000):
            await _ask(app, "/readyz")
        return (time.thread_time() - began) / 2000

    each = asyncio.run(main())
    lifecycle.stop()
    with capsys.disabled():
        print(f"\nhealth with 10 checks: {each * 1e6:.1f} µs CPU")
    assert each < 0.001


def test_passing_through_costs_a_few_microseconds(lifecycle: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    async def measure(app: Any) -> float:
        await _ask(app)
        began = time.thread_time()
        for _ in range(5000):
            await _ask(app)
        return (time.thread_time() - began) / 5000

    bare = asyncio.run(measure(_ok))
    wrapped = asyncio.run(measure(OuterHalf(_ok, lifecycle)))
    lifecycle.stop()
    with capsys.disabled():
        print(f"\nouter half: +{(wrapped - bare) * 1e6:.1f} µs CPU per request")
    assert wrapped - bare < 25e-6
