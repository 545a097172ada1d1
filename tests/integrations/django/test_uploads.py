"""What a request's body says, where Django runs without our outer halves: read before, after, or not by the view."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.test import override_settings
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

from tests.integrations.django.project import views
from zdd_sdk.http import current_exchange
from zdd_sdk.http.body import MAX_KEPT, Content
from zdd_sdk.store import finish

KEY = {"idempotency-key": "k"}


def whole() -> Content:
    exchange = current_exchange()
    assert exchange is not None
    assert exchange.body is not None
    return finish(exchange.body.whole())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def post(browser: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Post to a view that does this with its request."""

    def ask(happening: Callable[[HttpRequest], Any], headers: dict[str, str] = KEY, **request: Any) -> Any:
        monkeypatch.setattr(views, "between", [happening])
        answer = browser.post("claim", headers=headers, **request)
        assert answer.status_code == 200, answer.content
        return answer.json()["result"]

    return ask


@pytest.mark.parametrize("order", ["before", "after", "both"])
@pytest.mark.parametrize("size", [0, 5, 3 * MAX_KEPT // 2])
def test_a_body(post: Any, order: str, size: int):
    data = (b"0123456789" * size)[:size]

    def happening(request: HttpRequest) -> list[str]:
        found = [] if order == "before" else [whole().digest.hex()]
        assert request.body == data
        return found if order == "after" else [*found, whole().digest.hex()]

    assert set(post(happening, data=data, content_type="text/plain")) == {digest(data)}


def test_a_body_read_as_a_stream_in_parts(post: Any):
    def happening(request: HttpRequest) -> list[Any]:
        part = request.read(3)
        found = whole().digest.hex()
        return [found, (part + request.readline() + request.read()).decode()]

    assert post(happening, data=b"abcdef\nghi", content_type="text/plain") == [digest(b"abcdef\nghi"), "abcdef\nghi"]


def test_a_body_that_the_view_does_not_read(post: Any):
    assert post(lambda request: whole().digest.hex(), data=b"abc", content_type="text/plain") == digest(b"abc")


@pytest.mark.parametrize("first", [True, False])
def test_uploaded_files(post: Any, first: bool):
    """The test client draws no boundary anew; what is compared are the parts."""

    def happening(request: HttpRequest) -> list[str]:
        found = "" if first else whole().digest.hex()
        read = [request.POST["amount"], request.FILES["file"].read().decode()]  # type: ignore[union-attr]
        return [found or whole().digest.hex(), *read]

    file = b"x" * 70_000
    *read, again = (
        post(happening, data={"amount": "10", "file": SimpleUploadedFile("a.txt", content)})
        for content in (file, file, file[:-1] + b"y")
    )
    assert read[0] == read[1]
    assert read[0][1:] == ["10", file.decode()]
    assert read[0][0] != again[0]


def test_forms(post: Any):
    def happening(request: HttpRequest) -> list[Any]:
        content = whole()
        return [request.POST["a"], content.decoded()]

    kind = "application/x-www-form-urlencoded"
    assert post(happening, data="a=1&b=2", content_type=kind) == ["1", {"a": ["1"], "b": ["2"]}]


@pytest.mark.parametrize("first", [True, False])
def test_rest_framework(post: Any, first: bool):
    def happening(request: HttpRequest) -> list[Any]:
        found = None if first else whole().canonical()
        data = Request(request, parsers=[JSONParser()]).data
        return [data, (found or whole().canonical() or b"").decode()]

    assert post(happening, data=b'{"b": 1.0, "a": 2}', content_type="application/json") == [
        {"b": 1.0, "a": 2},
        '{"a":2,"b":1}',
    ]


def test_without_a_key_nothing_is_watched(post: Any):
    def happening(request: HttpRequest) -> list[Any]:
        exchange = current_exchange()
        assert exchange is not None
        return [exchange.body is None, request.body.decode()]

    assert post(happening, headers={}, data=b"abc", content_type="text/plain") == [True, "abc"]


# Through Django's own handlers, without its test client


@pytest.fixture(params=["/claim", "/a/claim"])
def serve(request: Any, configured: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Send chunks to Django's ASGI handler."""
    configured()

    def ask(
        happening: Callable[[HttpRequest], Any], *chunks: bytes, kind: bytes = b"text/plain", length: bool = True
    ) -> Any:
        monkeypatch.setattr(views, "between", [happening])
        waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        waiting.append({"type": "http.request"})
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"testserver"), (b"content-type", kind), (b"idempotency-key", b"k")]
        if length:
            headers.append((b"content-length", b"%d" % sum(map(len, chunks))))
        scope = {"type": "http", "method": "POST", "path": request.param, "query_string": b"", "headers": headers}
        runner.run(ASGIHandler()({**scope, "scheme": "http", "http_version": "1.1"}, receive, send))
        assert sent[0]["status"] == 200, sent
        return json.loads(sent[1]["body"])["result"]

    return ask


def test_the_handler_without_a_length(serve: Any):
    def happening(request: HttpRequest) -> list[Any]:
        part = request.read(2)
        return [whole().digest.hex(), (part + request.read()).decode(), whole().digest.hex()]

    assert serve(happening, b"ab", b"cd", length=False) == [digest(b"abcd"), "abcd", digest(b"abcd")]


@pytest.mark.parametrize("first", [True, False])
def test_the_handler_with_a_file_on_disk(serve: Any, first: bool):
    chunks = [bytes([number]) * 65_536 for number in range(60)]

    def happening(request: HttpRequest) -> list[Any]:
        found = None if first else whole()
        data = request.body if first else request.read()
        return [(found or whole()).digest.hex(), digest(data)]

    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=None):
        assert set(serve(happening, *chunks)) == {digest(b"".join(chunks))}


def test_the_handler_with_another_boundary_each_time(serve: Any):
    def happening(request: HttpRequest) -> list[Any]:
        before = whole().digest.hex()
        return [request.POST["amount"], before, whole().digest.hex()]

    def form(boundary: bytes, amount: bytes) -> list[Any]:
        part = b'--%b\r\nContent-Disposition: form-data; name="amount"\r\n\r\n%b\r\n--%b--\r\n'
        data = part % (boundary, amount, boundary)
        return serve(happening, data[:5], data[5:], kind=b"multipart/form-data; boundary=" + boundary)

    one, again, other = form(b"drawn", b"10"), form(b"drawn-again", b"10"), form(b"drawn", b"11")
    assert one == again
    assert (one[0], one[1] == one[2]) == ("10", True)
    assert other[1] != one[1]
