"""The outer half of WSGI, driven without a server."""

from __future__ import annotations

import io
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from zdd_sdk.lifecycle import Lifecycle, State, activate
from zdd_sdk.lifecycle.wsgi import OuterHalf
from zdd_sdk.settings import LifecycleSettings

Headers = list[tuple[str, str]]


@pytest.fixture
def lifecycle(tmp_path: Path) -> Iterator[Lifecycle]:
    made = Lifecycle(LifecycleSettings(run_dir=str(tmp_path / "run")), service="shop", environment="test")
    made.adapter = "test"
    yield made
    made.stop()


def _ok(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", environ.get("test.headers", [("Content-Type", "text/plain")]))
    return [b"ok"]


class _Exchange:
    """What a server does for one request."""

    def __init__(self, app: Any, path: str = "/", method: str = "GET", **environ: Any) -> None:
        line = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": ""}
        full = {**line, "SERVER_PROTOCOL": "HTTP/1.1", **environ}
        setup_testing_defaults(full)
        self.status = ""
        self.headers: Headers = []
        self.response = app(full, self._start)

    def _start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return lambda _: None

    def end(self) -> bytes:
        """Read the body and close it."""
        body = b"".join(self.response)
        if hasattr(self.response, "close"):
            self.response.close()
        return body

    @property
    def connection(self) -> list[str]:
        return [value for name, value in self.headers if name.lower() == "connection"]


def _ask(app: Any, path: str = "/", method: str = "GET", **environ: Any) -> tuple[str, bytes]:
    exchange = _Exchange(app, path, method, **environ)
    body = exchange.end()
    return exchange.status, body


@pytest.mark.parametrize("given", [[], [("connection", "keep-alive")], [("Connection", "close")] * 2])
def test_close_exactly_once_where_the_server_passes_it_on(lifecycle: Lifecycle, given: Headers) -> None:
    app = OuterHalf(OuterHalf(_ok, lifecycle, close_header=True), lifecycle, close_header=True)
    environ: dict[str, Any] = {"test.headers": given}
    assert _Exchange(app, **environ).headers == given
    lifecycle.begin_drain("test")
    assert _Exchange(app, **environ).connection == ["close"]
    assert _Exchange(app, "/livez").connection == ["close"]
    assert _Exchange(app, **environ, SERVER_PROTOCOL="HTTP/2").headers == given


def test_no_hop_by_hop_header_unless_asked_for(lifecycle: Lifecycle) -> None:
    """As PEP 3333 has it, checked by the standard library's own validator."""
    lifecycle.begin_drain("test")
    app = validator(OuterHalf(validator(_ok), lifecycle))
    exchange = _Exchange(app)
    assert exchange.connection == []
    assert exchange.end() == b"ok"


def test_a_request_in_flight_when_the_drain_begins_says_close(lifecycle: Lifecycle) -> None:
    def slow(environ: Any, start_response: Any) -> Iterable[bytes]:
        lifecycle.begin_drain("test")
        return _ok(environ, start_response)

    assert _Exchange(OuterHalf(slow, lifecycle, close_header=True)).connection == ["close"]


def test_in_flight_is_counted_until_the_body_is_closed(lifecycle: Lifecycle) -> None:
    closed: list[int] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            assert lifecycle.in_flight == 1
            yield b"piece"

        def close(self) -> None:
            closed.append(lifecycle.in_flight)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body()

    exchange = _Exchange(OuterHalf(OuterHalf(app, lifecycle), lifecycle))
    assert b"".join(exchange.response) == b"piece"
    assert lifecycle.in_flight == 1
    exchange.response.close()
    exchange.response.close()
    assert closed == [1, 0]
    assert lifecycle.in_flight == 0


def test_in_flight_counts_down_when_the_application_or_its_close_raises(lifecycle: Lifecycle) -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            raise ZeroDivisionError

    def broken(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/close":
            return Body()
        raise ZeroDivisionError

    for path in ("/", "/close"):
        with pytest.raises(ZeroDivisionError):
            _ask(OuterHalf(broken, lifecycle), path)
        assert lifecycle.in_flight == 0


def test_a_body_of_known_length_keeps_it(lifecycle: Lifecycle) -> None:
    """Servers make a Content-Length of it."""
    assert len(_Exchange(OuterHalf(_ok, lifecycle)).response) == 1
    streaming = OuterHalf(lambda _environ, start: (start("200 OK", []), iter([b"a"]))[1], lifecycle)
    assert not hasattr(_Exchange(streaming).response, "__len__")


def test_a_file_stays_a_file_and_is_counted(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """Servers send it with sendfile if they know its type."""
    file = io.BytesIO(b"bytes")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    exchange = _Exchange(OuterHalf(app, lifecycle), **environ)
    assert isinstance(exchange.response, FileWrapper)
    assert lifecycle.in_flight == 1
    assert exchange.end() == b"bytes"
    assert lifecycle.in_flight == 0
    assert file.closed


def test_a_file_that_takes_no_attribute_is_counted_as_well(lifecycle: Lifecycle) -> None:
    class Sealed:
        __slots__ = ()

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"sealed"])

    app = OuterHalf(lambda _environ, start: (start("200 OK", []), Sealed())[1], lifecycle)
    environ: dict[str, Any] = {"wsgi.file_wrapper": Sealed}
    exchange = _Exchange(app, **environ)
    assert lifecycle.in_flight == 1
    assert exchange.end() == b"sealed"
    assert lifecycle.in_flight == 0


def test_health_never_reaches_the_application(lifecycle: Lifecycle) -> None:
    app = OuterHalf(_ok, lifecycle)
    assert _ask(app, "/livez")[0] == "200 OK"
    assert _ask(app, "/readyz")[0] == "503 Service Unavailable"
    assert _ask(app, "/livez", "HEAD") == ("200 OK", b"")
    assert _ask(app, "/livez", "POST")[1] == b"ok"
    assert _ask(app, "/jazz")[1] == b"ok"
    assert _ask(app, "/livez", HTTP_HOST="10.0.0.7:8000")[1].startswith(b"{")


def test_health_below_a_script_name(lifecycle: Lifecycle) -> None:
    """A server that is mounted below ``/api`` splits the path itself."""
    assert _ask(OuterHalf(_ok, lifecycle), "/readyz", SCRIPT_NAME="/api")[0] == "503 Service Unavailable"
    assert _ask(OuterHalf(_ok, lifecycle), "/api/readyz")[1] == b"ok"


def test_without_an_adapter_it_starts_with_the_first_request(lifecycle: Lifecycle) -> None:
    lifecycle.adapter = None
    before = signal.getsignal(signal.SIGTERM)
    assert not lifecycle.started
    _ask(OuterHalf(_ok, lifecycle))
    assert lifecycle.started
    assert lifecycle.state is State.READY
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_stands_in_front_of_a_servers_sigterm_handler(lifecycle: Lifecycle) -> None:
    lifecycle.adapter = None
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        _ask(OuterHalf(_ok, lifecycle))
        signal.raise_signal(signal.SIGTERM)
        assert lifecycle.draining
        assert seen == []
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_follows_the_lifecycle_the_application_has_activated(lifecycle: Lifecycle) -> None:
    other = Lifecycle(lifecycle.settings, service="other", environment="test")
    activate(lifecycle)
    outer = OuterHalf(_ok, lifecycle, follow=True)
    activate(other)
    outer.start()
    assert outer.lifecycle is other
    assert other.started
    assert not lifecycle.started
    other.stop()


def test_passing_through_costs_a_few_microseconds(lifecycle: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(app: Any) -> float:
        environ = {"PATH_INFO": "/", "REQUEST_METHOD": "GET"}
        began = time.thread_time()
        for _ in range(5000):
            response = app(dict(environ), lambda *_: None)
            b"".join(response)
            if hasattr(response, "close"):
                response.close()
        return (time.thread_time() - began) / 5000

    app = OuterHalf(_ok, lifecycle)
    _ask(app)
    bare = measure(_ok)
    wrapped = measure(app)
    with capsys.disabled():
        print(f"\nWSGI outer half: +{(wrapped - bare) * 1e6:.1f} µs CPU per request")
    assert wrapped - bare < 25e-6
