"""The same small application on each framework, asked in-process through the whole stack, as a server would.

A `Stack` may be asked from many threads at once. `Browser` keeps the cookies of one visitor.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from tests.guarantees.routes import act
from zdd_sdk import ZeroDowntime
from zdd_sdk.store import finish

HOST = "shop.example"
Options = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    on_head: Callable[[], None] = lambda: None
    """Called when the answer's head leaves the application."""

    @property
    def query_string(self) -> str:
        return urlencode(self.query)


@dataclass(frozen=True)
class Answer:
    """What the browser gets."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def problem(self) -> str | None:
        """Type of the problem it is, if any."""
        return self.json.get("type")

    @property
    def cookies(self) -> list[str]:
        """The Set-Cookie lines."""
        return self.values("set-cookie")


@dataclass(frozen=True)
class Stack:
    """One framework, serving.

    Attributes:
        name: of the framework.
        send: sends one request and returns the answer.
        zdd: the service in it.
        gone: the status where a session has ended while a request changed it.
    """

    name: str
    send: Callable[[Asked], Answer]
    zdd: Any
    gone: int = 200

    def browser(self) -> Browser:
        return Browser(self)


@dataclass
class Browser:
    """One visitor."""

    stack: Stack
    jar: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        *,
        cookie: str | None = None,
        on_head: Any = None,
        headers: Any = None,
        **query: Any,
    ) -> Answer:
        """Send one request with the jar's cookies, or with this whole cookie header instead."""
        said = "; ".join(f"{name}={value}" for name, value in self.jar.items()) if cookie is None else cookie
        sent = {"host": HOST, **({"cookie": said} if said else {}), **(headers or {})}
        texts = {name: str(value) for name, value in query.items() if value is not None}
        answer = self.stack.send(Asked(method, path, texts, sent, on_head or (lambda: None)))
        if cookie is None:
            self.learn(answer)
        return answer

    def get(self, path: str, **given: Any) -> Answer:
        return self.ask("GET", path, **given)

    def post(self, path: str, **given: Any) -> Answer:
        return self.ask("POST", path, **given)

    def learn(self, answer: Answer) -> None:
        """Do with the cookies of an answer what a browser does."""
        for line in answer.cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" in line.lower():
                self.jar.pop(name.strip(), None)
            else:
                self.jar[name.strip()] = value.strip()

    def tab(self) -> Browser:
        """Another request of this browser, under way at the same time: it has the cookies of now."""
        return replace(self, jar=dict(self.jar))

    @property
    def cookie(self) -> str:
        """Value of the session's cookie; empty without one."""
        return next(iter(self.jar.values()), "")

    @property
    def cookie_name(self) -> str:
        return next(iter(self.jar))

    @property
    def user(self) -> str | None:
        return self.state[0]

    @property
    def fields(self) -> dict[str, Any]:
        return self.state[1]

    @property
    def state(self) -> tuple[str | None, dict[str, Any]]:
        """Who is logged in, and every attribute."""
        answer = self.get("see")
        assert answer.status == 200, answer
        return answer.json["user"], answer.json["fields"]


def call_wsgi(app: Any, asked: Asked) -> Answer:
    """Ask a WSGI application as its server would: the head leaves with the first byte of the body."""
    environ = {
        "REQUEST_METHOD": asked.method, "SCRIPT_NAME": "", "PATH_INFO": asked.path, "QUERY_STRING": asked.query_string,
        "SERVER_NAME": HOST, "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "203.0.113.7",
        "wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False, "CONTENT_LENGTH": "0",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in asked.headers.items()},
    }  # fmt: skip
    begun: list[Any] = []
    body = app(environ, lambda status, headers, exc=None: begun.append((status, headers)))
    chunks: list[bytes] = []
    try:
        for chunk in body:
            if not chunks:
                asked.on_head()
            chunks.append(chunk)
    finally:
        getattr(body, "close", lambda: None)()
    status, headers = begun[-1]
    return Answer(int(status[:3]), [(name, value.strip()) for name, value in headers], b"".join(chunks))


async def call_asgi(app: Any, asked: Asked) -> Answer:
    """Ask an ASGI application."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method, "scheme": "https",
        "path": asked.path, "raw_path": asked.path.encode(), "query_string": asked.query_string.encode(),
        "root_path": "", "client": ("203.0.113.7", 1), "server": (HOST, 443),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in asked.headers.items()],
    }  # fmt: skip
    sent: list[Any] = []
    arrived = False

    async def receive() -> Any:
        nonlocal arrived
        if arrived:
            await asyncio.sleep(3600)
        arrived = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            asked.on_head()
        sent.append(message)

    await app(scope, receive, send)
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], pairs, b"".join(message.get("body", b"") for message in sent[1:]))


@contextmanager
def on_loop(app: Any, zdd: Any = None) -> Iterator[Callable[[Asked], Answer]]:
    """Serve an ASGI application on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    try:
        yield lambda asked: asyncio.run_coroutine_threadsafe(call_asgi(app, asked), loop).result(90)
    finally:
        if zdd is not None:
            asyncio.run_coroutine_threadsafe(zdd().stores.aio.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def fastapi_app(zdd: ZeroDowntime) -> Any:
    """The application on FastAPI."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse, StreamingResponse

    from tests.guarantees.hands import FastapiHand
    from zdd_fastapi import LazySession, ZddMiddleware

    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    async def route(name: str, request: Request, session: LazySession) -> Response:
        said = await act(name, dict(request.query_params), lambda: FastapiHand(session))
        if said.streamed:
            return StreamingResponse(iter([json.dumps(said.body).encode()]))
        return JSONResponse(said.body, said.status)

    route.__annotations__ = {"name": str, "request": Request, "session": LazySession, "return": None}
    app.add_api_route("/{name}", route, methods=["GET", "POST"], response_model=None)
    return app


def flask_app(options: Options) -> Any:
    """The application on Flask."""
    import flask

    from tests.guarantees.hands import FlaskHand
    from zdd_flask import Zdd

    app = flask.Flask("shop")
    Zdd(app, **options)

    @app.route("/<name>", methods=["GET", "POST"])
    def route(name: str) -> Any:
        said = finish(act(name, flask.request.args.to_dict(), lambda: FlaskHand(flask.session)))
        if said.streamed:
            return flask.Response(iter([json.dumps(said.body).encode()]))
        return said.body, said.status

    return app


@contextmanager
def serve_fastapi(options: Options) -> Iterator[Stack]:
    zdd = ZeroDowntime(**options)
    with on_loop(fastapi_app(zdd), lambda: zdd) as send:
        yield Stack("fastapi", lambda asked: send(replace(asked, path=f"/{asked.path}")), zdd)
    zdd.lifecycle.stop(1.0)


@contextmanager
def serve_flask(options: Options) -> Iterator[Stack]:
    app = flask_app(options)
    zdd = app.extensions["zdd"]
    yield Stack("flask", lambda asked: call_wsgi(app, replace(asked, path=f"/{asked.path}")), zdd)
    zdd.lifecycle.stop(1.0)


@contextmanager
def serve_django(options: Options) -> Iterator[Stack]:
    """Django under WSGI; settings must have been set up."""
    from django.core.handlers.wsgi import WSGIHandler

    with django_settings(options) as service:
        app = WSGIHandler()
        yield Stack("django", lambda asked: call_wsgi(app, replace(asked, path=f"/{asked.path}")), service(), gone=400)


@contextmanager
def serve_django_asgi(options: Options) -> Iterator[Stack]:
    """Django under ASGI, with coroutines for views."""
    from django.core.handlers.asgi import ASGIHandler

    with django_settings(options) as service, on_loop(ASGIHandler(), service) as send:
        place = lambda asked: replace(asked, path=f"/{asked.path}" if asked.path.endswith("z") else f"/a/{asked.path}")  # noqa: E731
        yield Stack("django-asgi", lambda asked: send(place(asked)), service(), gone=400)


@contextmanager
def django_settings(options: Options) -> Iterator[Callable[[], ZeroDowntime]]:
    """Django's settings for the small application, on top of those of the tests' project."""
    from django.test import override_settings

    from tests.guarantees.django_project import SETTINGS
    from zdd_django import get_zdd

    with override_settings(**SETTINGS, ZDD=options):
        yield get_zdd


SERVERS: dict[str, Callable[[Options], Any]] = {
    "fastapi": serve_fastapi,
    "django": serve_django,
    "django-asgi": serve_django_asgi,
    "flask": serve_flask,
}
