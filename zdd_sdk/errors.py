"""The error tree.

Everything zdd-sdk raises on purpose is a `ZddError`, and also the builtin a caller would expect:

* ZddError(Exception)
  * SettingsError(ValueError)               an option is unknown, missing or has an impossible value
    * StoreNotConfigured                    production marker found and no ``ZDD_REDIS_URL``
    * SecretNotConfigured                   ``ZDD_SECRET`` is missing or shorter than 32 bytes
  * MissingExtra(ImportError)               a feature needs a package that is not installed
  * StoreUnavailable(ConnectionError)       Redis did not answer inside its budget
    * StoreRefused                          it answered, and will not serve us: password, database, clients
  * StoreReplyError(RuntimeError)           Redis answered with an error reply
  * RecordError(ValueError)                 a stored value cannot be read
    * RecordUndecodable                     its bytes are not what the frame says
    * RecordTooNew                          a newer release wrote it in a format this one cannot read
    * RecordSealed                          it is encrypted and cannot be opened here
    * RecordNotSealed                       it is not encrypted, where nothing else is read
  * SessionError(RuntimeError)
    * SessionGone                           logged out or expired while the request ran
    * SessionConflict                       a field is not what it was expected to be
      * SessionLoginNeeded                  the same, answered with 401
    * SessionReadOnly                       a pre-login snapshot or a stale copy cannot be changed
    * SessionUnavailable(ConnectionError)   the session was needed and Redis is away
    * SessionCrossSite                      a login in a cross-site POST that came without the cookie
    * SessionTooLarge(ValueError)           a field or a session exceeds its size limit
    * SessionValueError(ValueError)         a value cannot be stored, or a name is reserved
  * IdempotencyError(RuntimeError)
    * IdempotencyKeyMissing(ValueError)     the request has no ``Idempotency-Key``, and the endpoint wants one
    * IdempotencyKeyInvalid(ValueError)     it is no key: a list, too long, not printable
    * IdempotencyKeyExpired(ValueError)     it is older than what is remembered
    * IdempotencyKeyReused                  it came with another request before
    * IdempotencyPrincipalMissing           nobody is logged in, and keys belong to somebody
    * IdempotencyInProgress                 the first request with this key is still running
    * IdempotencyOutcomeUnknown             nobody knows whether the first request had its effect
    * IdempotencyOutcomeCommitted           the effect is there, the answer is not
    * IdempotencyUnavailable(ConnectionError) the claim was needed and Redis is away
    * IdempotencyTooNew                     a newer release keeps this key in a form we cannot read
    * IdempotencyNotGuarded                 the effect was not committed together with its guard row
    * IdempotencyLeaseLost                  another worker has taken the key over
  * RequestIncomplete(ConnectionError)      the client has gone before it had sent its whole request
  * LifecycleError(RuntimeError)            the drain cannot fit the grace period, or no instance matches
  * FleetError(RuntimeError)
    * FleetUnknown                          the registry cannot say who is alive right now
    * FleetTimeout(TimeoutError)            ``zdd fleet wait`` did not see what it waited for
  * RehearsalError(RuntimeError)            the rehearsal could not be carried out

Each class has a stable ``code`` (also the anchor of its paragraph in ``docs/errors.md``) and the HTTP
``status`` an application answers with. Messages name the key, field or option, never a secret value.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "FleetError",
    "FleetTimeout",
    "FleetUnknown",
    "IdempotencyError",
    "IdempotencyInProgress",
    "IdempotencyKeyExpired",
    "IdempotencyKeyInvalid",
    "IdempotencyKeyMissing",
    "IdempotencyKeyReused",
    "IdempotencyLeaseLost",
    "IdempotencyNotGuarded",
    "IdempotencyOutcomeCommitted",
    "IdempotencyOutcomeUnknown",
    "IdempotencyPrincipalMissing",
    "IdempotencyTooNew",
    "IdempotencyUnavailable",
    "LifecycleError",
    "MissingExtra",
    "RecordError",
    "RecordNotSealed",
    "RecordSealed",
    "RecordTooNew",
    "RecordUndecodable",
    "RehearsalError",
    "RequestIncomplete",
    "SecretNotConfigured",
    "SessionConflict",
    "SessionCrossSite",
    "SessionError",
    "SessionGone",
    "SessionLoginNeeded",
    "SessionReadOnly",
    "SessionTooLarge",
    "SessionUnavailable",
    "SessionValueError",
    "SettingsError",
    "StoreNotConfigured",
    "StoreRefused",
    "StoreReplyError",
    "StoreUnavailable",
    "ZddError",
]


class ZddError(Exception):
    """Base of every error zdd-sdk raises on purpose.

    Attributes:
        code: stable short name.
        status: of the HTTP answer.
        public: the message may be shown to a client; else it is the operator's, and only logged.
    """

    code: ClassVar[str] = "zdd-error"
    status: ClassVar[int] = 500
    public: ClassVar[bool] = False

    @property
    def docs(self) -> str:
        """Where this error is explained, relative to the documentation's root."""
        return f"errors.md#{self.code}"


class SettingsError(ZddError, ValueError):
    """An option is unknown, missing, or has a value that cannot work; the message names it."""

    code = "settings"


class StoreNotConfigured(SettingsError):
    """A production marker was found and no store URL is set: an embedded engine would lose everything."""

    code = "store-not-configured"


class SecretNotConfigured(SettingsError):
    """``ZDD_SECRET`` is missing or has fewer than 32 bytes."""

    code = "secret-not-configured"


class MissingExtra(ZddError, ImportError):
    """A feature was constructed whose package is not installed; the message gives the pip command."""

    code = "missing-extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs a package that is not installed: pip install 'zdd-sdk[{extra}]'")


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


class SessionError(ZddError, RuntimeError):
    """Base of what can go wrong with a user's session."""

    code = "session"
    public = True


class SessionGone(SessionError):
    """The session was logged out, revoked or expired while this request ran; nothing was written."""

    code = "session-gone"
    status = 409


class SessionConflict(SessionError):
    """A field was to be changed only if it still had a certain value, and it has another; nothing was written."""

    code = "session-conflict"
    status = 409


class SessionLoginNeeded(SessionGone):
    """The same, where ``sessions.on_gone`` is ``401``: the client is told to log in again."""

    code = "session-login-needed"
    status = 401


class SessionReadOnly(SessionError):
    """A change was made to a pre-login snapshot or to a stale copy, which can only be read."""

    code = "session-read-only"
    status = 409


class SessionUnavailable(SessionError, ConnectionError):
    """The session was needed and Redis is away; the cookie is left untouched."""

    code = "session-unavailable"
    status = 503

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SessionCrossSite(SessionError):
    """A login was tried in a cross-site POST that came without the session cookie; such an answer sets none."""

    code = "session-cross-site"
    status = 403


class SessionTooLarge(SessionError, ValueError):
    """A field is larger than 64 KiB or the session larger than 256 KiB (defaults)."""

    code = "session-too-large"
    status = 413


class SessionValueError(SessionError, ValueError):
    """A value cannot be stored in a session, or a field's name is not allowed."""

    code = "session-value"


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


class IdempotencyLeaseLost(IdempotencyError):
    """Another worker has taken the key over while this one stood still; what it does now must not be kept."""

    code = "idempotency-lease-lost"
    status = 409
    retry = True


class RequestIncomplete(ZddError, ConnectionError):
    """The client has gone before it had sent its whole request; nothing was done."""

    code = "request-incomplete"
    status = 400
    public = True


class LifecycleError(ZddError, RuntimeError):
    """A drain cannot be carried out as configured, or no instance matches."""

    code = "lifecycle"


class FleetError(ZddError, RuntimeError):
    """Base of what can go wrong with the registry of live workers."""

    code = "fleet"


class FleetUnknown(FleetError):
    """The registry was flushed or out of reach lately and cannot say who is alive."""

    code = "fleet-unknown"
    status = 503


class FleetTimeout(FleetError, TimeoutError):
    """The fleet did not reach the awaited state in time."""

    code = "fleet-timeout"


class RehearsalError(ZddError, RuntimeError):
    """The rehearsal could not be carried out; says which step, with the server's last output."""

    code = "rehearsal"
