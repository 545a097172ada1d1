"""What idempotency asks Redis: one script and one slot each, so that any trip may carry several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.idempotency.answer import StoredAnswer, encode
from zdd_sdk.idempotency.model import (
    Busy,
    Completion,
    Effects,
    Holder,
    Mismatch,
    Newer,
    Owned,
    Refused,
    Replay,
    Request,
    Stored,
    Unknown,
    Verdict,
    read_record,
    replay,
)
from zdd_sdk.settings import IdempotencySettings
from zdd_sdk.store import Call, Keys, load_script

__all__ = ["IdempotencyCalls", "Shown"]

T = TypeVar("T")
_PACKAGE = "zdd_sdk.idempotency"
_PART = "idem"

_PATIENCE = 50
"""Milliseconds a claim waits to be acknowledged; an idle Redis looks at its clock every 100 ms, so up to 150."""

_BEHIND: dict[str, tuple[str | int, ...]] = {
    "none": (),
    "replica": ("WAIT", 1, _PATIENCE),
    "aof": ("WAITAOF", 1, 0, _PATIENCE),
}
"""What goes right behind a claim, by ``idempotency.durability``; scripts cannot wait."""


class Shown(msgspec.Struct, frozen=True):
    """A key as an operator sees it.

    Attributes:
        now: the server's time, ms.
        record: what lies there.
        left: ms until it goes; −1: never.
        body: the body of its answer is kept apart, and still there.
    """

    now: int
    record: Stored
    left: int
    body: bool


class IdempotencyCalls:
    """Builds the calls of one process; ``name`` is always that of a record (`zdd_sdk.idempotency.scope.Scope.names`).

    Every call may be sent again: whatever changes something is known by the token of its run, its generation or its
    operator, and finds itself done. Calls of a run return ``False`` where it is not its own any more, and raise
    `StoreReplyError` where Redis refuses; `claim` returns that as `Refused`.

    Args:
        keys: names of keys.
        settings: the idempotency options.
        instance: name of this process for others.
        release: label of what it runs.
    """

    def __init__(self, keys: Keys, settings: IdempotencySettings, instance: str, release: str) -> None:
        self._keys = keys
        self._lease = _milliseconds(settings.lease)
        self._body_ttl = settings.body_ttl
        self._holder = Holder(instance, release)
        self._behind = _BEHIND[settings.durability]
        self._open = keys.name(_PART, "open")

    def request(
        self,
        token: bytes,
        fingerprints: Sequence[str],
        effects: Effects,
        operation: str,
        *,
        retention: float,
        take_unknown: bool = False,
    ) -> Request:
        """Return what a claim of this process says; see `claim`."""
        kept = max(self._lease, _milliseconds(retention))
        return Request(
            token, tuple(fingerprints), effects, self._lease, kept, self._holder, operation, take_unknown=take_unknown
        )

    def claim(
        self,
        name: str,
        token: bytes,
        fingerprints: Sequence[str],
        effects: Effects,
        operation: str,
        *,
        retention: float,
        take_unknown: bool = False,
    ) -> Call[Verdict]:
        """Ask for the key.

        Args:
            name: of the record.
            token: of this run, 16 random bytes.
            fingerprints: of the request, ``algorithm.key.hash`` each.
            effects: of the operation.
            operation: its name.
            retention: seconds its outcome is remembered, from the first claim on; at least the lease.
            take_unknown: run it although the outcome of the run before is unknown.
        """
        request = self.request(token, fingerprints, effects, operation, retention=retention, take_unknown=take_unknown)
        args = (token, *_said(request), int(take_unknown))
        call = self._script("claim", name, args, _read_verdict, on_error=_refused)
        return msgspec.structs.replace(call, read=_read_kept, behind=self._behind) if self._behind else call

    def renew(self, name: str, token: bytes) -> Call[bool]:
        """Hold it for another lease."""
        return self._script("renew", name, (token, self._lease), _is_ours)

    def checkpoint(self, name: str, token: bytes, point: str) -> Call[bool]:
        """Hold it for another lease, and note how far the run has come."""
        return self._script("checkpoint", name, (token, self._lease, point), _is_ours)

    def complete(
        self,
        name: str,
        token: bytes,
        answer: StoredAnswer | None,
        body_ttl: float | None = None,
        *,
        restore: Request | None = None,
    ) -> Call[bool]:
        """Say that it was carried out.

        Args:
            name: of the record.
            token: of the run.
            answer: to replay; ``None``: it is not kept.
            body_ttl: seconds a large body is kept; default as configured.
            restore: what was claimed (`request`): where Redis has lost the record, it is written anew.
        """
        said = _said(restore) if restore else ()
        return self._script("complete", name, (token, *self._kept(answer, body_ttl), *said), _is_ours)

    def release(self, name: str, token: bytes) -> Call[bool]:
        """Forget the attempt: it had no effect."""
        return self._script("release", name, (token,), _is_ours)

    def hold(self, name: str, token: bytes, why: str) -> Call[bool]:
        """Say that nobody knows whether it had its effect, and ``why``: a short word."""
        return self._script("hold", name, (token, why), _is_ours)

    def handoff(self, name: str, token: bytes) -> Call[bool]:
        """Give it up, because this process ends: to the next caller where a second run is safe, else as unknown."""
        return self._script("handoff", name, (token,), _is_ours)

    def resolve(
        self, name: str, generation: int, answer: StoredAnswer | None, by: str, *, done: bool | None = None
    ) -> Call[bool]:
        """Decide an unknown outcome.

        Args:
            name: of the record.
            generation: of the run that was looked at; ``False`` comes back if there is another by now.
            answer: it was done, and this is to be replayed; ``None``: it was not done, so that the next caller runs it.
            by: who says so.
            done: ``True`` without an answer: it was done, and the answer is not known.
        """
        was_done = answer is not None if done is None else done
        args = (generation, by, int(was_done), *self._kept(answer, None))
        return self._script("resolve", name, args, _is_ours)

    def purge(self, name: str) -> Call[bool]:
        """Forget the key, whatever its state; says whether there was one."""
        keys = self._names(name)
        return Call(lambda reply: int(reply) > 0, ("DEL", *keys), keys=keys, again=True)

    def show(self, name: str) -> Call[Shown]:
        """Look, and change nothing."""
        return self._script("show", name, (), _read_shown)

    def opened(self, name: str, retention: float) -> Call[bool]:
        """List a run of an ``unsafe`` operation, so that operators find it; in the trip of its claim.

        It leaves the list with `closed`, or once its record has gone. Whoever reads the list looks at each record.
        ``False``: Redis has refused, which must not hide what has become of the claim.
        """
        args = (name, max(self._lease, _milliseconds(retention)))
        return _call("open", (self._open,), args, lambda reply: bool(reply[0] == b"ok"), on_error=lambda _: False)

    def closed(self, *names: str) -> Call[int]:
        """Take runs off the list; in the trip that settles them."""
        return Call(int, ("ZREM", self._open, *names), keys=(self._open,), again=True, on_error=lambda _: 0)

    def list_open(self, start: int = 0, count: int = 100) -> Call[list[str]]:
        """Read a page of the list, the record that goes first in front."""
        command = ("ZRANGE", self._open, start, start + count - 1)
        return Call(lambda found: [name.decode() for name in found], command, keys=(self._open,), again=True)

    def _kept(self, answer: StoredAnswer | None, body_ttl: float | None) -> tuple[bytes, bytes, int]:
        kept = Completion(*encode(answer)) if answer else Completion()
        seconds = self._body_ttl if body_ttl is None else body_ttl
        return kept.answer, kept.body, max(1, _milliseconds(seconds))

    def _names(self, name: str) -> tuple[str, str]:
        return self._keys.name(_PART, name), self._keys.name(_PART, name, "body")

    def _script(
        self,
        script: str,
        name: str,
        args: tuple[Any, ...],
        read: Callable[[Sequence[Any]], T],
        on_error: Callable[[StoreReplyError], T] | None = None,
    ) -> Call[T]:
        return _call(script, self._names(name), args, read, on_error)


def _call(
    script: str,
    keys: tuple[str, ...],
    args: tuple[Any, ...],
    read: Callable[[Sequence[Any]], T],
    on_error: Callable[[StoreReplyError], T] | None = None,
) -> Call[T]:
    return Call(read, (), load_script(_PACKAGE, script, prelude="common"), keys, args, again=True, on_error=on_error)


def _said(request: Request) -> tuple[Any, ...]:
    holder = request.holder
    head = (request.lease, request.retention, request.effects[0], holder.instance, holder.release)
    return (*head, request.operation, " ".join(request.fingerprints))


def _is_ours(reply: Sequence[Any]) -> bool:
    if reply[0] == b"error":
        raise StoreReplyError(_text(reply[2]))
    return bool(reply[0] == b"ok")


def _read_verdict(reply: Sequence[Any]) -> Verdict:
    return _VERDICTS[reply[0]](*reply[2:])


def _read_kept(replies: tuple[Sequence[Any], Any]) -> Verdict:
    """Take a claim for granted only where as many have acknowledged it as were asked for."""
    verdict, acknowledged = _read_verdict(replies[0]), replies[1]
    if not isinstance(verdict, Owned):
        return verdict
    if isinstance(acknowledged, StoreReplyError):
        return Refused(f"idempotency.durability: {acknowledged}", granted=True)
    kept = acknowledged[0] if isinstance(acknowledged, list) else acknowledged
    return verdict if kept else Refused("idempotency.durability: the claim was not acknowledged", granted=True)


def _read_owned(generation: bytes, first: bytes, ends: bytes, point: bytes, *previous: bytes) -> Owned:
    holder = Holder(*map(_text, previous)) if previous else None
    return Owned(int(generation), int(first), int(ends), _text(point), holder)


def _read_busy(left: bytes, instance: bytes, release: bytes) -> Busy:
    return Busy(int(left), Holder(_text(instance), _text(release)))


def _read_replay(answer: bytes, body: bytes | None, release: bytes, first: bytes, ends: bytes) -> Replay | Newer:
    return replay(answer, body, _text(release), int(first), int(ends))


def _read_unknown(why: bytes, generation: bytes, first: bytes, *rest: bytes) -> Unknown:
    instance, release, fresh = rest
    return Unknown(_text(why), int(generation), int(first), Holder(_text(instance), _text(release)), fresh == b"1")


_VERDICTS: dict[bytes, Callable[..., Verdict]] = {
    b"owned": _read_owned,
    b"busy": _read_busy,
    b"mismatch": Mismatch,
    b"replay": _read_replay,
    b"unknown": _read_unknown,
    b"newer": lambda version: Newer(_text(version)),
    b"error": lambda message: Refused(_text(message)),
}


def _refused(error: StoreReplyError) -> Verdict:
    return Refused(str(error))


def _read_shown(reply: Sequence[Any]) -> Shown:
    if reply[0] == b"error":
        raise StoreReplyError(_text(reply[2]))
    _, now, flat, left, body = reply
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Shown(int(now), read_record(fields), int(left), bool(body))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
