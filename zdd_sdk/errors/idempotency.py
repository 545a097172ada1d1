"""What goes wrong with an idempotency key."""

from __future__ import annotations

from typing import ClassVar

from zdd_sdk.errors.base import ZddError

__all__ = [
    "IdempotencyError",
    "IdempotencyInProgress",
    "IdempotencyKeyExpired",
    "IdempotencyKeyInvalid",
    "IdempotencyKeyMissing",
    "IdempotencyKeyReused",
    "IdempotencyNotGuarded",
    "IdempotencyOutcomeCommitted",
    "IdempotencyOutcomeUnknown",
    "IdempotencyPrincipalMissing",
    "IdempotencyTooNew",
    "IdempotencyUnavailable",
]


class IdempotencyError(ZddError, RuntimeError):
    """Base of what can go wrong with an idempotency key.

    Attributes:
        title: of the problem, where draft-ietf-httpapi-idempotency-key-header-07 (2.7) fixes one.
        retry: whether the same request, sent again, may have another outcome; ``x-should-retry``.
    """

    code = "idempotency"
    public = True
    title: ClassVar[str] = ""
    retry: ClassVar[bool] = False


class IdempotencyKeyMissing(IdempotencyError, ValueError):
    """The request has no ``Idempotency-Key``, and this endpoint wants one."""

    code = "idempotency-key-missing"
    status = 400
    title = "Idempotency-Key is missing"


class IdempotencyKeyInvalid(IdempotencyError, ValueError):
    """The ``Idempotency-Key`` is no key: more than one, empty, too long or not printable ASCII."""

    code = "idempotency-key-invalid"
    status = 400
    title = "Idempotency-Key is invalid"


class IdempotencyKeyExpired(IdempotencyError, ValueError):
    """The key says itself that it is older than what is remembered: executing it might be the second time."""

    code = "idempotency-key-expired"
    status = 400
    title = "Idempotency-Key is expired"


class IdempotencyKeyReused(IdempotencyError):
    """The key came with another request before; nothing was done."""

    code = "idempotency-key-reused"
    status = 422
    title = "Idempotency-Key is already used"


class IdempotencyPrincipalMissing(IdempotencyError):
    """The endpoint's keys belong to a principal, and this request comes from nobody; nothing was done."""

    code = "idempotency-principal-missing"
    status = 401


class IdempotencyInProgress(IdempotencyError):
    """The first request with this key is still running.

    Attributes:
        retry_after: seconds a client should wait.
    """

    code = "idempotency-in-progress"
    status = 409
    title = "A request is outstanding for this Idempotency-Key"
    retry = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IdempotencyOutcomeUnknown(IdempotencyInProgress):
    """The first request ended in a way that does not say whether it had its effect; it is not run again."""

    code = "idempotency-outcome-unknown"
    title = "The outcome of the first request with this Idempotency-Key is unknown"
    retry = False


class IdempotencyOutcomeCommitted(IdempotencyError):
    """The first request had its effect, and its answer was lost or is no longer kept; it is not run again."""

    code = "idempotency-outcome-committed"
    status = 409
    title = "The first request with this Idempotency-Key was carried out; its answer is not kept"


class IdempotencyUnavailable(IdempotencyError, ConnectionError):
    """The key could not be claimed because Redis is away; nothing was done."""

    code = "idempotency-unavailable"
    status = 503
    retry = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IdempotencyTooNew(IdempotencyUnavailable):
    """A newer release keeps this key in a form this one cannot read; an instance of that release will answer."""

    code = "idempotency-too-new"


class IdempotencyNotGuarded(IdempotencyError):
    """The endpoint says ``effects="db"``, and its effect was not committed together with its guard row."""

    code = "idempotency-not-guarded"
    public = False
