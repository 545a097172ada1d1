"""What goes wrong with Redis, and with what lies in it."""

from __future__ import annotations

from zdd_sdk.errors.base import ZddError

__all__ = [
    "RecordError",
    "RecordNotSealed",
    "RecordSealed",
    "RecordTooNew",
    "RecordUndecodable",
    "StoreRefused",
    "StoreReplyError",
    "StoreUnavailable",
]


class StoreUnavailable(ZddError, ConnectionError):
    """Redis did not answer inside the budget (500 ms in all by default), or the breaker is open.

    Attributes:
        sent: ``True`` if the commands may have reached Redis, so that a write may have happened.
        retry_after: seconds a client should wait, for the ``Retry-After`` header.
        reason: one word for counters: ``"refused"``, ``"unresolved"``, ``"timeout"``, ``"lost"``, ``"busy"``
            (every connection in use), ``"loading"``, ``"moved"``, ``"rejected"`` or ``"open"`` (the breaker).
    """

    code = "store-unavailable"
    status = 503

    def __init__(self, message: str, *, sent: bool = False, retry_after: float = 1.0, reason: str = "lost") -> None:
        super().__init__(message)
        self.sent = sent
        self.retry_after = retry_after
        self.reason = reason


class StoreRefused(StoreUnavailable):
    """Redis is there and will not serve this client: wrong password, wrong database, too many clients."""

    code = "store-refused"


class StoreReplyError(ZddError, RuntimeError):
    """Redis answered one call with an error reply (``OOM``, ``WRONGTYPE``, ``READONLY`` …).

    Attributes:
        prefix: the first word of the reply, upper case.
    """

    code = "store-reply"
    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.prefix = message.partition(" ")[0].upper()


class RecordError(ZddError, ValueError):
    """A stored value cannot be read; it is left as it is."""

    code = "record"


class RecordUndecodable(RecordError):
    """The bytes of a stored value are not what its frame says."""

    code = "record-undecodable"


class RecordTooNew(RecordError):
    """A newer release wrote this value in a format this release cannot read."""

    code = "record-too-new"


class RecordSealed(RecordError):
    """A stored value is encrypted and cannot be opened: no key of it here, bytes changed, or no package for it."""

    code = "record-sealed"


class RecordNotSealed(RecordError):
    """A stored value is not encrypted, and this release reads only what is."""

    code = "record-not-sealed"
