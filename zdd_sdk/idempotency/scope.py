"""Whose key it is: the name of a record, from principal, operation and key."""

from __future__ import annotations

import hashlib
import hmac
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from zdd_sdk.errors import (
    IdempotencyError,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyPrincipalMissing,
    SettingsError,
)
from zdd_sdk.idempotency.paths import follow
from zdd_sdk.secrets import Secrets

__all__ = ["ANONYMOUS", "Principal", "Scope", "key_reader", "principal_reader", "to_bytes"]

_log = logging.getLogger("zdd.idempotency")

ANONYMOUS = "anonymous"
"""What has to be said where every caller shares one set of keys."""

Principal = str | Callable[[Mapping[str, Any]], object]
"""A parameter path (``"user.id"``), a callable of the bound arguments, or ``"anonymous"``."""


class Scope:
    """Names records: HMAC-SHA256 over principal, operation and key, each with its length in front.

    Nobody who sees Redis can tell keys or users from the names, and no two scopes run into one another. There is
    one name per root secret, the writing one first, so that a rotation of ``ZDD_SECRET`` forgets nothing.

    Args:
        secrets: the root secrets.
        operation: name of the operation.
    """

    def __init__(self, secrets: Secrets, operation: str) -> None:
        self._keys = secrets.derive("idempotency-key")
        self._operation = operation.encode()

    def names(self, principal: object, key: str) -> tuple[str, ...]:
        """Return the names of a key's record, 43 characters of base64url each.

        Args:
            principal: whose it is; a tuple is a composite, such as tenant and user.
            key: the text of the key.
        """
        parts = principal if isinstance(principal, tuple) else (principal,)
        words = [*(to_bytes(str(part)) for part in parts), self._operation, to_bytes(key)]
        message = b"".join(b"%d:%b" % (len(word), word) for word in (b"%d" % len(parts), *words))
        return tuple(_text(hmac.digest(secret, message, hashlib.sha256)) for secret in self._keys)


def to_bytes(text: str) -> bytes:
    """Half a surrogate pair may come out of JSON, and is a name like any other."""
    return text.encode("utf-8", "surrogatepass")


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def principal_reader(
    principal: Principal | None, parameters: Sequence[str], operation: str
) -> Callable[[Mapping[str, Any]], object]:
    """Return what finds the principal among a call's bound arguments.

    Args:
        principal: what the endpoint, else the settings say.
        parameters: names of the endpoint's parameters.
        operation: for messages.

    Raises:
        SettingsError: nothing is said, or the path begins at no parameter.
    """
    if principal is None:
        message = (
            f"{operation}: say whose keys they are: principal='user.id' (a parameter path), a callable of the "
            "arguments, or 'anonymous'"
        )
        raise SettingsError(message)
    if principal == ANONYMOUS:
        return lambda _: ANONYMOUS
    find = principal if callable(principal) else _follow(principal, parameters, f"{operation}: principal")

    def read(bound: Mapping[str, Any]) -> object:
        found = find(bound)
        if _empty(found):
            message = "these keys belong to somebody, and this request comes from nobody: log in first"
            raise IdempotencyPrincipalMissing(message)
        if _nameless(found):
            message = f"{operation}: the principal {principal!r} is an object without a name; say which id of it"
            raise IdempotencyError(message)
        return found

    return read


def key_reader(key: Principal, parameters: Sequence[str], operation: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what finds the key of a plain function among a call's bound arguments.

    Args:
        key: a parameter path, or a callable of the bound arguments.
        parameters: names of the function's parameters.
        operation: for messages.

    Raises:
        SettingsError: the path begins at no parameter.
    """
    find = key if callable(key) else _follow(key, parameters, f"{operation}: key")

    def read(bound: Mapping[str, Any]) -> str:
        found = find(bound)
        if _empty(found):
            message = f"{operation}: key={key!r} is empty; give one that is the same whenever the call is repeated"
            raise IdempotencyKeyMissing(message)
        if _nameless(found):
            message = f"{operation}: key={key!r} is a {type(found).__name__}, which is another one at each call"
            raise IdempotencyKeyInvalid(message)
        return str(found)

    return read


def _empty(found: object) -> bool:
    """Whether it is nobody: also a user object that says so, such as Django's ``AnonymousUser``."""
    if isinstance(found, tuple):
        return not found or any(map(_empty, found))
    return found is None or found == "" or getattr(found, "is_authenticated", True) is False


def _nameless(found: object) -> bool:
    """Whether its text would be an address in memory, which no other process has."""
    parts = found if isinstance(found, tuple) else (found,)
    kinds: list[Any] = [type(part) for part in parts]
    return any(kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__ for kind in kinds)


def _follow(path: str, parameters: Sequence[str], what: str) -> Callable[[Mapping[str, Any]], object]:
    first, *rest = path.split(".")
    if first not in parameters:
        message = f"{what}={path!r} begins at no parameter of the function ({', '.join(parameters)})"
        raise SettingsError(message)

    @cache
    def say() -> None:
        _log.warning(
            "%s=%r leads nowhere in a request; right if nobody was logged in, else correct the path", what, path
        )

    def find(bound: Mapping[str, Any]) -> object:
        try:
            return follow(bound, (first, *rest))
        except LookupError:
            say()
            return None

    return find
