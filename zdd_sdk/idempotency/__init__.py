"""Idempotency: one key, exactly one committed effect.

A claim in Redis keeps duplicates apart while the first one runs and remembers its answer; a guard row in the
application's database is the truth where there is one. What nobody can know is said to be unknown, never guessed.
"""

from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.begin import NOT_DONE, UNKNOWN
from zdd_sdk.idempotency.claim import OnUnknown
from zdd_sdk.idempotency.context import Context, current, guarding
from zdd_sdk.idempotency.core import Idempotency
from zdd_sdk.idempotency.decorate import KeyOf, Said
from zdd_sdk.idempotency.fingerprint import Fingerprints, FingerprintSpec
from zdd_sdk.idempotency.guard import Guard, GuardedTransaction, GuardRow
from zdd_sdk.idempotency.key import Key, parse_key
from zdd_sdk.idempotency.model import Effects
from zdd_sdk.idempotency.paths import follow
from zdd_sdk.idempotency.scope import Principal

__all__ = [
    "NOT_DONE",
    "UNKNOWN",
    "Context",
    "Effects",
    "FingerprintSpec",
    "Fingerprints",
    "Guard",
    "GuardRow",
    "GuardedTransaction",
    "Idempotency",
    "Key",
    "KeyOf",
    "OnUnknown",
    "Principal",
    "Said",
    "StoredAnswer",
    "current",
    "follow",
    "guarding",
    "parse_key",
]
