"""Decorators: a bracket around a function, which claims before it and settles after it; sync or async as it is."""

from __future__ import annotations

import functools
import hashlib
import inspect
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from zdd_sdk.errors import IdempotencyError, IdempotencyKeyMissing, ZddError
from zdd_sdk.http import Answer, Exchange, current_exchange
from zdd_sdk.http.body import KEY_HEADER
from zdd_sdk.idempotency.answer import StoredAnswer, keep
from zdd_sdk.idempotency.arguments import Arguments
from zdd_sdk.idempotency.claim import Claim, Operation
from zdd_sdk.idempotency.context import Context, context_variable
from zdd_sdk.idempotency.core import Idempotency
from zdd_sdk.idempotency.fingerprint import Fingerprints, FingerprintSpec
from zdd_sdk.idempotency.guard import Enclosing
from zdd_sdk.idempotency.key import check_age, parse_key
from zdd_sdk.idempotency.results import Results
from zdd_sdk.idempotency.said import read_said
from zdd_sdk.idempotency.scope import Scope, to_bytes
from zdd_sdk.store import Store, finish

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["OPERATION", "Bracket", "bracket_of"]

F = TypeVar("F", bound=Callable[..., Any])

OPERATION = "__zdd_operation__"
"""Attribute of a decorated function: its `Bracket`, by which integrations find it again."""


class Bracket(Generic[F]):
    """What lies around one decorated function.

    Args:
        zdd: the service.
        function: what is decorated.
        operation: what the decorator says.
        fingerprint: of which part of the request.
        key: finds the key among the bound arguments; ``None``: it is the request's header.

    Attributes:
        wrapper: what the decorator returns.
    """

    def __init__(
        self,
        zdd: ZeroDowntime,
        function: F,
        operation: Operation,
        fingerprint: FingerprintSpec,
        key: Callable[[Mapping[str, Any]], str] | None,
    ) -> None:
        self.function = function
        self.operation = operation
        self._zdd = zdd
        self._spec = fingerprint
        self._key = key
        self._arguments = Arguments(function)
        self.wrapper: F = self._wrap()
        setattr(self.wrapper, OPERATION, self)

    @property
    def endpoint(self) -> bool:
        """Whether it takes its key from the request."""
        return self._key is None

    @property
    def lifetime(self) -> str:
        """How long an outcome is remembered, as clients are told: an ISO 8601 duration."""
        return f"PT{self.operation.retention:.0f}S"

    def _wrap(self) -> F:
        function = self.function
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def around_async(*args: Any, **kwargs: Any) -> Any:
                return await self._run_async(args, kwargs)

            return cast("F", around_async)

        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            return self._run(args, kwargs)

        return cast("F", around)

    # The two colours

    async def _run_async(self, args: Any, kwargs: Any) -> Any:
        one = self._open(args, kwargs, asynchronous=True)
        if one is None:
            return await self.function(*args, **kwargs)
        if (known := await one.enter()) is not None:
            return one.known(known)
        try:
            with one:
                one.result = await self.function(*args, **kwargs)
                await one.keep()
        finally:
            if not self.endpoint:
                await one.leave()
        return one.result

    def _run(self, args: Any, kwargs: Any) -> Any:
        one = self._open(args, kwargs, asynchronous=False)
        if one is None:
            return self.function(*args, **kwargs)
        if (known := finish(one.enter())) is not None:
            return one.known(known)
        try:
            with one:
                one.result = self._ended(self.function(*args, **kwargs))
                finish(one.keep())
        finally:
            if not self.endpoint:
                finish(one.leave())
        return one.result

    def _ended(self, result: Any) -> Any:
        """Refuse what has not run yet: a decorator below has hidden that the function is asynchronous."""
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result) and (context := context_variable.get()) is not None:
                result.close()
                context.nothing_done()
            message = f"{self.operation.name} returns something to await: put @zdd.idempotent right above the function"
            raise IdempotencyError(message)
        return result

    def _open(self, args: Any, kwargs: Any, *, asynchronous: bool) -> _Run | None:
        zdd = self._zdd
        if zdd.stock or not zdd.settings.idempotency.enabled:
            return None
        bound = self._bind(args, kwargs)
        exchange = current_exchange()
        if not self.endpoint:
            zdd.on_request()  # who renews its lease while it runs, where nothing is served
            return _Run(self, bound, None, self._store(exchange, asynchronous=asynchronous))
        if exchange is None:
            message = f"{self.operation.name} was called outside of a request: its key comes from the request's header"
            raise IdempotencyError(message)
        if not self.operation.required and exchange.header(KEY_HEADER) is None:
            return None
        return _Run(self, bound, exchange, self._store(exchange, asynchronous=asynchronous))

    def _store(self, exchange: Exchange | None, *, asynchronous: bool) -> Store | None:
        """Return what the call's flows run over: within a request its driver's, as far as the function can wait."""
        if not asynchronous:
            return self._zdd.blocking_store()
        return self._zdd.aio_store() if exchange is None else exchange.store

    def _bind(self, args: Any, kwargs: Any) -> Mapping[str, Any]:
        if self.endpoint and not args:
            return kwargs  # type: ignore[no-any-return]  # as a framework calls it: by name, and complete
        return self._arguments.bind(args, kwargs)

    def move(self, zdd: ZeroDowntime) -> None:
        """Belong to another service from now on: one built anew from changed settings, in tests."""
        for kept in ("scope", "fingerprints", "part"):
            self.__dict__.pop(kept, None)
        self._zdd = zdd
        zdd.brackets.append(self)

    # What it needs once there are secrets

    @functools.cached_property
    def scope(self) -> Scope:
        """Names the records."""
        return Scope(self._zdd.secrets, self.operation.name)

    @functools.cached_property
    def fingerprints(self) -> Fingerprints:
        """Says what a request asks for."""
        return Fingerprints(self._spec, self._zdd.secrets, self.operation.name)

    @functools.cached_property
    def results(self) -> Results:
        """What it returns, as it is kept."""
        return Results(self.function, self.operation.name, self.part.settings.max_body)

    def given(self, bound: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return of a call's arguments those that say what it asks for."""
        return self._arguments.given(bound)

    @functools.cached_property
    def part(self) -> Idempotency:
        """The part that claims."""
        return self._zdd.idempotency

    def text_of(self, exchange: Exchange | None, bound: Mapping[str, Any]) -> str:
        """Return the text of the key.

        Raises:
            IdempotencyKeyMissing: there is none.
            IdempotencyKeyInvalid: what there is is no key.
            IdempotencyKeyExpired: it is older than what is remembered.
        """
        if self._key is not None:
            return self._key(bound)
        assert exchange is not None  # noqa: S101 - for type checkers
        settings = self.part.settings
        if values := exchange.header_values(KEY_HEADER):
            key = parse_key(values, least=settings.min_key, most=settings.max_key, format=settings.key_format)
            check_age(key, self.operation.retention, time.time())
            return key.text
        message = "this needs an Idempotency-Key: a new random one per request, the same one when it is sent again"
        raise IdempotencyKeyMissing(message)

    @property
    def why_cut(self) -> str:
        """Why a run is broken off now: by a cancellation or a signal."""
        return "drain" if self._zdd.lifecycle.draining else "cut-off"

    def lineage(self, principal: object, key: str) -> bytes:
        """Return what child keys are made of; no secret is in it, so that they survive every rotation."""
        keys = self._zdd.keys
        words = [keys.service, keys.environment, self.operation.name, str(principal), key]
        return hashlib.sha256(to_bytes("".join(f"{len(word)}:{word}" for word in words))).digest()


class _Run:
    """One call of a decorated function."""

    def __init__(
        self, bracket: Bracket[Any], bound: Mapping[str, Any], exchange: Exchange | None, store: Store | None
    ) -> None:
        self._bracket, self._bound, self._exchange, self._store = bracket, bound, exchange, store
        self._claim: Claim | None = None
        self.result: Any = None

    async def enter(self) -> StoredAnswer | None:
        """Claim the key; return the answer of the first run, if there was one."""
        bracket, exchange = self._bracket, self._exchange
        part = bracket.part
        if exchange is not None and part not in exchange.participants:
            message = f"{bracket.operation.name} belongs to another service than this request, or the request is over"
            raise IdempotencyError(message)
        if exchange is not None and part.name in exchange.parts:
            message = f"{bracket.operation.name} runs inside another idempotent endpoint; give it a key= of its own"
            raise IdempotencyError(message)
        principal = bracket.operation.principal(self._bound)
        text = bracket.text_of(exchange, self._bound)
        fingerprints = await self._fingerprints()
        if exchange is not None:
            exchange.response_headers.append(("idempotency-key-lifetime", bracket.lifetime))
        claim = Claim(
            bracket.operation,
            text,
            bracket.scope.names(principal, text),
            fingerprints,
            bracket.lineage(principal, text),
        )
        claim.write = self._said
        answer = await part.begin(claim, self._bound, self._store)
        if answer is None:
            self._claim = claim
            if exchange is not None:
                part.attend(exchange, claim)
                late = exchange.surface is not None and exchange.surface.commits_late()
                exchange.awaits_commit = late or claim.transaction is not None
        return answer

    async def _fingerprints(self) -> tuple[str, ...]:
        exchange, fingerprints = self._exchange, self._bracket.fingerprints
        if exchange is None:
            self._bracket.results.check()
            return fingerprints.of_call(self._bound, self._bracket.given(self._bound))
        if exchange.body is None or exchange.surface is None:
            message = "an idempotent endpoint needs the framework's integration of zdd around its application"
            raise IdempotencyError(message)
        content, surface = await exchange.body.whole(), exchange.surface
        return fingerprints.of_request(
            content, surface.path_parameters(), surface.query(), self._bound, exchange.method
        )

    def _write(self, result: Any) -> StoredAnswer | None:
        """Make a stored answer of what stands for the operation's own result."""
        if self._exchange is None or self._exchange.surface is None:
            return self._bracket.results.keep(result)
        answer = self._exchange.surface.answer_of(result)
        return None if answer is None else keep(answer.status, answer.headers, answer.body)

    def _said(self, found: Any) -> StoredAnswer | None:
        """Make one of what ``answer=`` or a probe has returned."""
        return read_said(found, self._write, plain=self._exchange is None)

    def known(self, answer: StoredAnswer) -> Any:
        """Return the answer of the first run as the framework, or the caller, wants it."""
        exchange = self._exchange
        if exchange is None:
            return self._bracket.results.read(answer)
        assert exchange.surface is not None  # noqa: S101 - for type checkers
        exchange.response_headers.append(("idempotent-replayed", "true"))
        return exchange.surface.response(Answer(answer.status, list(answer.headers), answer.body))

    def __enter__(self) -> None:
        self._token = context_variable.set(Context(self._held))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        context_variable.reset(self._token)
        try:
            around = self._held.transaction
            if around is not None and isinstance(around, Enclosing):  # to ask a protocol costs 20 µs
                around.end(error)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if error is not None:
                self._held.refused = isinstance(error, ZddError)
                self._held.raised = True
                self._held.cut = "" if isinstance(error, Exception) else self._bracket.why_cut
                self._held.status = 0 if self._exchange is not None else 500

    @property
    def _held(self) -> Claim:
        assert self._claim is not None  # noqa: S101 - for type checkers
        return self._claim

    async def keep(self) -> None:
        """Write the answer beside the effect, where its bytes exist before the commit."""
        around = self._held.transaction
        if around is None or not isinstance(around, Enclosing):
            return
        if (known := self._write(self.result)) is not None:
            await self._bracket.part.keep_before(self._held, known)

    async def leave(self) -> None:
        """Settle the claim of a plain function."""
        assert self._claim is not None  # noqa: S101 - for type checkers
        self._claim.answer = None if self._claim.status else self._bracket.results.keep(self.result)
        settling = self._bracket.part.settle(self._claim, self._store)
        await (settling if self._store is None else self._store.shield(settling))


def bracket_of(function: object) -> Bracket[Any] | None:
    """Return the bracket of a decorated function, also through decorators around it; ``None`` without one."""
    while function is not None:
        if (bracket := getattr(function, "__dict__", {}).get(OPERATION)) is not None and function is bracket.wrapper:
            return cast("Bracket[Any]", bracket)
        function = getattr(function, "__wrapped__", None)
    return None
