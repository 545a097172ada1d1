"""The virtual user a scenario plays with: requests, cookies, and what must hold."""

from __future__ import annotations

import asyncio
import itertools
import json as jsonlib
import random
import traceback
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from zdd_sdk.rehearsal.client import RawResponse
from zdd_sdk.rehearsal.cookies import Jar
from zdd_sdk.rehearsal.model import ViolationKind

__all__ = ["InvariantBroken", "Request", "RequestFailed", "Response", "User", "line_of", "to_response"]


class RequestFailed(Exception):
    """A request got no answer, or one the scenario did not expect; it has already been counted.

    Left uncaught it ends this round of the scenario, and the user begins another.

    Attributes:
        method: of the request.
        failure: its kind, see `zdd_sdk.rehearsal.model.Sample`.
        response: the unexpected answer, or ``None``.
    """

    def __init__(self, method: str, failure: str, response: Response | None) -> None:
        super().__init__(f"{method} failed: {failure}")
        self.method = method
        self.failure = failure
        self.response = response


class InvariantBroken(AssertionError):
    """What `User.invariant` makes of a failed check."""

    def __init__(self, kind: ViolationKind, text: str) -> None:
        super().__init__(text)
        self.kind: ViolationKind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """What a user wants to send.

    Attributes:
        method, path, headers, body: of the HTTP request, ready to be sent.
        route: name under which it is counted.
        expect: statuses that are no failure beside 2xx and 3xx.
        patience: seconds after which the user hangs up; ``None`` for an answer that ends by itself.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    route: str
    expect: frozenset[int]
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: of the answer.
        headers: names in lower case; several values of one name are joined with a comma.
        body: its bytes.
        release: side of the instance that answered, ``old`` or ``new``.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    release: str = ""

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body read as JSON.

        Raises:
            ValueError: it is none.
        """
        return jsonlib.loads(self.body)


_IN_PROGRESS = 409
_AGAIN = frozenset({_IN_PROGRESS, 502, 503, 504})

Send = Callable[["User", Request], Awaitable[tuple[RawResponse, str]]]


class User:
    """One virtual user with a connection and cookies of its own.

    Attributes:
        id: number of the user, from 0; also distinct between rehearsals only by what the scenario adds.
        random: seeded for this user, so that a rehearsal can be repeated.
        state: whatever the scenario wants to remember between rounds; emptied by `reset`.
        cookies: the user's cookie jar.
    """

    def __init__(self, number: int, seed: int, send: Send) -> None:
        self.id = number
        self.random = random.Random(f"{seed}/{number}")
        self.state: dict[str, Any] = {}
        self.cookies = Jar()
        self._send = send

    async def get(self, path: str, **options: Any) -> Response:
        """GET; see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Response:
        """POST; see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Response:
        """PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Response:
        """PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> Response:
        """DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def listen(self, path: str, seconds: float, **options: Any) -> Response:
        """GET a stream, such as server-sent events, and hang up after so long; the body is what had come until then.

        A stream that the server ends earlier is a good answer, one that breaks off is a ``reset``. Its latency is the
        time until it began. See `request`.
        """
        return await self.request("GET", path, patience=seconds, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        label: str = "",
        expect: Collection[int] = (),
        patience: float | None = None,
    ) -> Response:
        """Pause for a moment, send one request, once, and return its answer.

        Args:
            method: the HTTP method.
            path: with its query.
            json: a body, sent as JSON.
            data: a body, sent as a form, or as it is if bytes.
            headers: more headers.
            label: name under which the request is counted; default the path without its query.
            expect: statuses that are no failure beside 2xx and 3xx.
            patience: hang up after so many seconds; see `listen`.

        Raises:
            RequestFailed: no answer, or a status that was not expected.
        """
        body, kind = _body(json, data)
        lines = dict(headers or {})
        if kind:
            lines.setdefault("Content-Type", kind)
        if body or method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            lines["Content-Length"] = str(len(body))
        if cookie := self.cookies.header(path.partition("?")[0]):
            lines["Cookie"] = cookie
        route = label or path.partition("?")[0]
        request = Request(method, path, tuple(lines.items()), body, route, frozenset(expect), patience)
        return to_response(*await self._send(self, request))

    async def once(self, path: str, *, attempts: int = 12, key: str = "", **options: Any) -> Response:
        """POST with an ``Idempotency-Key``, and send it again with the same one until it is answered.

        As a good client does with a payment: again after no answer, and after 409, 502, 503 and 504 unless
        ``x-should-retry`` says no, a little later each time.

        Args:
            path: with its query.
            attempts: how often it is sent at most.
            key: default a new random one.
            options: of `request`.

        Raises:
            RequestFailed: the last attempt's.
        """
        headers = {**(options.pop("headers", None) or {}), "Idempotency-Key": key or str(uuid.uuid4())}
        expect = {*options.pop("expect", ()), _IN_PROGRESS}
        for attempt in itertools.count(1):
            try:
                answer = await self.request("POST", path, headers=headers, expect=expect, **options)
            except RequestFailed as error:
                if attempt == attempts or not _worth_another(error.response):
                    raise
            else:
                if answer.status != _IN_PROGRESS or attempt == attempts or not _worth_another(answer):
                    return answer
            await asyncio.sleep(min(0.1 * 2**attempt, 2.0) * self.random.uniform(0.5, 1.0))
        raise AssertionError

    @contextmanager
    def invariant(self, kind: ViolationKind) -> Iterator[None]:
        """Classify what fails inside: ``login``, ``field`` or ``effect``.

        Anything but a failed request counts as broken, also a ``KeyError`` because the answer
        lacks what was asked for.
        """
        try:
            yield
        except (RequestFailed, InvariantBroken):
            raise
        except Exception as error:
            raise InvariantBroken(kind, line_of(error)) from error

    def reset(self) -> None:
        """Become a new visitor: no cookies, no state."""
        self.cookies.clear()
        self.state.clear()


def _worth_another(answer: Response | None) -> bool:
    if answer is None:
        return True
    said = answer.headers.get("x-should-retry")
    return answer.status in _AGAIN if said is None else said == "true"


def _body(json: Any, data: Mapping[str, str] | bytes | None) -> tuple[bytes, str]:
    if json is not None:
        return jsonlib.dumps(json, separators=(",", ":")).encode(), "application/json"
    if isinstance(data, bytes):
        return data, ""
    return (urlencode(data).encode(), "application/x-www-form-urlencoded") if data else (b"", "")


def to_response(raw: RawResponse, release: str) -> Response:
    """What a scenario sees of an answer."""
    headers: dict[str, str] = {}
    for name, value in raw.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Response(raw.status, headers, raw.body, release)


def line_of(error: Exception) -> str:
    """Say in one line what failed; an error without a text, such as a plain ``assert``, shows its source."""
    text = str(error)
    if not text:
        frames = traceback.extract_tb(error.__traceback__)
        text = (frames[-1].line if frames else None) or ""
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"
