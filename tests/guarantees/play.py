"""`Play`: what an attack or a race needs: browsers, requests that stop half way, what lies in Redis, and faults."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

from tests.conftest import ROOMY
from tests.guarantees.routes import Moment, moments
from tests.guarantees.stacks import Answer, Browser, Stack
from zdd_sdk.store.engine import Engine
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.tap import RespTap

SECRET = "s" * 40


class Play:
    """One stack on one engine; a context manager.

    Args:
        serve: builds the stack from options, a context manager.
        engine: the real one.
        tap: in front of it; the stack goes through it.
    """

    def __init__(self, serve: Callable[[dict[str, Any]], Any], engine: Engine, tap: RespTap) -> None:
        self._serve = serve
        self.engine = engine
        self.tap = tap
        self._stack: Stack | None = None
        self._open = ExitStack()
        self._pool = ThreadPoolExecutor(20)
        self.wire = Wire(engine.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for moment in moments.values():
            moment.over.set()
        self._pool.shutdown()
        moments.clear()
        self.tap.heal()
        self._open.close()
        self.wire.__exit__()

    def serve(self, **options: Any) -> Stack:
        """Serve with options, in place of what was served before."""
        self._open.close()
        given = {
            "service": "shop",
            "environment": "test",
            "redis_url": self.tap.url,
            "secret": (SECRET,),
            "store": ROOMY,
            "fleet": {"enabled": False},
            **options,
        }
        self._stack = self._open.enter_context(self._serve(given))
        return self._stack

    @property
    def stack(self) -> Stack:
        return self._stack or self.serve()

    def browser(self, **fields: str) -> Browser:
        """A visitor, with a session if there are fields."""
        browser = self.stack.browser()
        for name, value in fields.items():
            assert browser.post("put", name=name, value=value).status == 200
        return browser

    def logged_in(self, user: str = "ada", **fields: str) -> Browser:
        browser = self.browser(**fields)
        assert browser.post("login", user=user).status == 200
        return browser

    def slow(self, browser: Browser, path: str = "slow", **query: Any) -> Slow:
        """Send a request from another tab of this browser, and return once it is half way."""
        name = secrets.token_hex(4)
        moments[name] = Moment()
        tab = browser.tab()
        answering = self._pool.submit(tab.post, path, moment=name, **query)
        while not moments[name].reached.wait(0.05):
            assert not answering.done(), answering.result()
        return Slow(tab, moments[name], answering)

    def together(self, *requests: Callable[[], Answer]) -> list[Answer]:
        """Send requests at the same time."""
        return [answering.result(90) for answering in [self._pool.submit(request) for request in requests]]

    def trips(self, request: Callable[[], Answer]) -> int:
        """Round trips of one request, which must be answered."""
        self.tap.reset()
        answer = request()
        assert answer.status < 400, answer
        return self.tap.trips

    @property
    def live(self) -> list[bytes]:
        """Keys of the sessions in Redis that are no markers."""
        found: list[bytes] = self.wire.ask("KEYS", "zdd:*:session:*:s:*")
        return [key for key in found if not self.wire.ask("HEXISTS", key, "_k")]

    @property
    def key(self) -> bytes:
        """Key of the only session."""
        (found,) = self.live
        return found

    def eventually(self, request: Callable[[], Answer]) -> Answer:
        """Send a request until it is answered with 200: the breaker takes its time to close."""
        deadline = time.monotonic() + 30
        while (answer := request()).status != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer


class Slow:
    """A request that has stopped half way."""

    def __init__(self, tab: Browser, moment: Moment, answering: Future[Answer]) -> None:
        self.tab = tab
        self._moment = moment
        self._answering = answering

    def end(self) -> Answer:
        """Let it go on, and return its answer."""
        self._moment.over.set()
        return self._answering.result(90)
