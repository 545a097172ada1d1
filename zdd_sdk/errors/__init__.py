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
  * RequestIncomplete(ConnectionError)      the client has gone before it had sent its whole request
  * LifecycleError(RuntimeError)            the drain cannot fit the grace period, or no instance matches
  * FleetError(RuntimeError)
    * FleetUnknown                          the registry cannot say who is alive right now
    * FleetTimeout(TimeoutError)            ``zdd fleet wait`` did not see what it waited for
  * RehearsalError(RuntimeError)            the rehearsal could not be carried out

Each class has a stable ``code`` (also the anchor of its paragraph in ``docs/errors.md``) and the HTTP
``status`` an application answers with. Messages name the key, field or option, never a secret value.
"""

from zdd_sdk.errors.base import (
    FleetError,
    FleetTimeout,
    FleetUnknown,
    LifecycleError,
    MissingExtra,
    RehearsalError,
    RequestIncomplete,
    SecretNotConfigured,
    SettingsError,
    StoreNotConfigured,
    ZddError,
)
from zdd_sdk.errors.idempotency import (
    IdempotencyError,
    IdempotencyInProgress,
    IdempotencyKeyExpired,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    IdempotencyNotGuarded,
    IdempotencyOutcomeCommitted,
    IdempotencyOutcomeUnknown,
    IdempotencyPrincipalMissing,
    IdempotencyTooNew,
    IdempotencyUnavailable,
)
from zdd_sdk.errors.sessions import (
    SessionConflict,
    SessionCrossSite,
    SessionError,
    SessionGone,
    SessionLoginNeeded,
    SessionReadOnly,
    SessionTooLarge,
    SessionUnavailable,
    SessionValueError,
)
from zdd_sdk.errors.store import (
    RecordError,
    RecordNotSealed,
    RecordSealed,
    RecordTooNew,
    RecordUndecodable,
    StoreRefused,
    StoreReplyError,
    StoreUnavailable,
)

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

for _name in __all__:
    globals()[_name].__module__ = __name__  # what tracebacks and pickles say, wherever it lies in here
