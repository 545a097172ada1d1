"""The state of one request and its answer, shared by all parts, behind one contextvar.

The drivers in `zdd_sdk.web` create an `Exchange`, put it behind the contextvar once and mutate it;
the variable itself is never set again during the request, so that thread pools and tasks see the same object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from zdd_sdk.errors import StoreUnavailable
    from zdd_sdk.http.body import RequestBody
    from zdd_sdk.http.problem import Answer
    from zdd_sdk.store import Call, Store

__all__ = ["Exchange", "Hold", "Participant", "Surface", "current_exchange", "exchange_variable"]

_log = logging.getLogger("zdd.web")

exchange_variable: ContextVar[Exchange | None] = ContextVar("zdd_exchange", default=None)
"""Set once per request by the driver."""


def current_exchange() -> Exchange | None:
    """Return the exchange of the request this code runs for, or ``None`` outside a request."""
    return exchange_variable.get()


class Participant(Protocol):
    """A part that takes part in exchanges. It keeps its state of a request in ``exchange.parts[name]``."""

    name: str

    def leaving(self, exchange: Exchange) -> Sequence[Call[Any]]:
        """Return what to ask before the answer's first byte.

        Asked again after each trip until every participant returns nothing; the calls of all
        participants share one trip. ``exchange.status`` is known. Must be cheap and return nothing
        if the part was not used.
        """
        ...

    def left(self, exchange: Exchange, results: Sequence[Any]) -> None:
        """Take the results of the calls just returned, in order; may add to ``exchange.response_headers``."""

    def unavailable(self, exchange: Exchange, error: StoreUnavailable) -> Answer | None:
        """Say what to answer instead when the leave's trip failed; ``None`` lets the answer go as it is."""
        ...


class Surface(Protocol):
    """What a framework knows of a request, and how it answers."""

    def response(self, answer: Answer) -> Any:
        """Return an answer of ours as what an endpoint of the framework returns."""
        ...

    def answer_of(self, result: Any) -> Answer | None:
        """Return the answer that what an endpoint returns will be; ``None`` where its bytes are not there."""
        ...

    def path_parameters(self) -> Mapping[str, object]:
        """Return what the router has taken out of the path."""
        ...

    def query(self) -> str:
        """Return the query string, undecoded."""
        ...

    def commits_late(self) -> bool:
        """Whether the application may commit after the route has made its answer."""
        ...


class Hold:
    """Keeps an answer's bytes back until released; made by `Exchange.hold`."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def release(self) -> None:
        """Let the bytes go once no other hold is left; from any thread, and twice is harmless."""
        self._exchange.let_go(self)


class Exchange:
    """One request and its answer.

    Holds and callbacks may be used from several threads at once. There is no lock: whoever adds looks
    again afterwards, and taking one out of a list or a set is atomic. A callback that fails is logged.

    Attributes:
        method: HTTP method in upper case; ``WEBSOCKET`` for a WebSocket.
        path: decoded path.
        scheme: ``http``, ``https``, ``ws`` or ``wss``, as the server saw it.
        store: the store of this driver (asyncio on an ASGI loop, else blocking), or ``None``.
        body: the request's body as it is read; ``None`` without an ``Idempotency-Key``, or where nobody has asked yet.
        surface: what the framework knows of the request; ``None`` where no integration is at work.
        status: status of the answer, 0 until it is known.
        response_headers: headers parts want on the answer, added before its first byte.
        parts: state of each participant by name.
        participants: the parts, in their fixed order; set by the driver. None once the request is over.
        awaits_commit: database glue sets it where the commit comes after the route's answer; a held
            answer then waits for `committed`, at the latest for the route's return.
        commit_observed: the application's commit has been seen (or there is none to wait for).
        under_way: the route of a request with an ``Idempotency-Key`` is at work and has not answered: what others
            answer in its place, such as a middleware that has waited long enough, says nothing of its outcome.
        adrift: the request was cancelled, or answered by others, and its route goes on alone: nobody above it will see
            how it ends.
    """

    __slots__ = (
        "_after_commit",
        "_before_leave",
        "_final_bytes",
        "_headers",
        "_holds",
        "_when_released",
        "adrift",
        "awaits_commit",
        "body",
        "commit_observed",
        "method",
        "participants",
        "parts",
        "path",
        "response_headers",
        "scheme",
        "status",
        "store",
        "surface",
        "under_way",
    )

    def __init__(
        self, method: str, path: str, scheme: str, headers: Callable[[str], Iterable[str]], store: Store | None
    ) -> None:
        self.method = method
        self.path = path
        self.scheme = scheme
        self.store = store
        self.body: RequestBody | None = None
        self.surface: Surface | None = None
        self.status = 0
        self.response_headers: list[tuple[str, str]] = []
        self.parts: dict[str, Any] = {}
        self.participants: Sequence[Participant] = ()
        self.awaits_commit = False
        self.commit_observed = False
        self.under_way = False
        self.adrift = False
        self._headers = headers
        self._final_bytes: list[Callable[..., object]] = []
        self._after_commit: list[Callable[..., object]] = []
        self._holds: set[Hold] = set()
        self._when_released: list[Callable[..., object]] = []
        self._before_leave: Callable[[], Coroutine[Any, Any, None]] | None = None

    def header_values(self, name: str) -> tuple[str, ...]:
        """Return every value of a request header; ``name`` in lower case."""
        return tuple(self._headers(name))

    def header(self, name: str) -> str | None:
        """Return the first value of a request header, or ``None``; ``name`` in lower case."""
        return next(iter(self._headers(name)), None)

    def hold(self) -> Hold:
        """Keep the answer's bytes back from the client until the returned hold is released.

        The inner half then collects the body (unless the handler returned a stream) and sends
        nothing before the leave is done.
        """
        hold = Hold(self)
        self._holds.add(hold)
        return hold

    @property
    def held(self) -> bool:
        """Whether a hold is not yet released."""
        return bool(self._holds)

    def let_go(self, hold: Hold | None = None) -> None:
        """Take one hold away, or every one of them; for `Hold` and drivers."""
        self._holds.clear() if hold is None else self._holds.discard(hold)
        if not self._holds:
            _run(self._when_released)

    def when_released(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once no hold is left: at once if there is none; for drivers."""
        self._when_released.append(callback)
        if not self._holds:
            _run(self._when_released)

    def on_final_bytes(self, callback: Callable[[int, Sequence[tuple[str, str]], bytes], None]) -> None:
        """Call ``callback(status, headers, body)`` with the answer as the route made it, identity-encoded.

        Called by the inner half, below all user middleware, before the leave; not called for streams.
        """
        self._final_bytes.append(callback)

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once the application's commit has been observed, before the leave."""
        self._after_commit.append(callback)
        if self.commit_observed:
            _run(self._after_commit)

    def before_leave(self, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await ``flow()`` at the begin of the leave, once: what has to be kept elsewhere before Redis is told.

        It runs to its end even if the client hangs up. Under WSGI it must not suspend.
        """
        self._before_leave = flow

    async def begin_leave(self) -> None:
        """Run what was given to `before_leave`; for drivers."""
        flow, self._before_leave = self._before_leave, None
        if flow is not None:
            await flow()

    @property
    def wants_leave(self) -> bool:
        """Whether there is something to run before the parts are asked."""
        return self._before_leave is not None

    def final_bytes(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Run the final-bytes callbacks; for drivers."""
        _run(self._final_bytes, status, headers, body)

    def committed(self) -> None:
        """Note that the commit has been observed and run the callbacks once; for drivers and database glue."""
        self.commit_observed = True
        if self._after_commit:
            _run(self._after_commit)

    @property
    def wants_final_bytes(self) -> bool:
        """Whether any participant waits for the whole body."""
        return bool(self._final_bytes)


def _run(callbacks: list[Callable[..., object]], *arguments: object) -> None:
    """Take the callbacks out, first added first, and call each once, whatever the others do."""
    while callbacks:
        try:
            callback = callbacks.pop(0)
        except IndexError:  # another thread was faster
            return
        try:
            callback(*arguments)
        except Exception:  # noqa: BLE001 - a participant's hook must not fail the application's request
            _log.exception("a callback of an exchange failed: %s", getattr(callback, "__qualname__", callback))
