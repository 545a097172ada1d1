"""What a request says, in a few characters: two requests with one key must have said the same.

A fingerprint is ``<algorithm>.<key id>.<hash>``. There is one candidate per algorithm and root secret, and requests
are the same if any two candidates are. So neither a rotation of ``ZDD_SECRET`` nor a new ``fingerprint=`` makes an
honest retry look like another request, as long as the old one stays in the list for one retention.

Algorithms: ``j1`` everything, its JSON in one spelling; ``r1`` everything, byte by byte; ``s1-…`` selected fields;
``c1-…`` what a function of the application returns. The hash is an HMAC: Redis never holds what could be guessed from.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from zdd_sdk.errors import SettingsError
from zdd_sdk.http.body import Content
from zdd_sdk.idempotency.paths import follow
from zdd_sdk.secrets import Secrets

__all__ = ["LABEL", "Fingerprint", "FingerprintSpec", "Fingerprints", "read_fingerprint"]

Fingerprint = None | Sequence[str] | Callable[[Mapping[str, Any]], object]
"""Everything; names of fields; or a function of the bound arguments that returns what counts."""

FingerprintSpec = Fingerprint | list[Fingerprint]
"""One of these, or several: the present one first, then those of older releases."""

LABEL = "idempotency-fingerprint"
"""HKDF label of the key that hashes requests."""

_KEY_ID, _HASH = 4, 22


class Fingerprints:
    """Takes the fingerprints of one operation.

    Args:
        spec: what counts.
        secrets: the root secrets, the writing one first.
        operation: name of the operation.

    Raises:
        SettingsError: a spec that cannot work.
    """

    def __init__(self, spec: FingerprintSpec, secrets: Secrets, operation: str) -> None:
        self._ways = read_fingerprint(spec)
        self._operation = operation
        self._keys = [(_text(hmac.digest(key, b"key id", "sha256"))[:_KEY_ID], key) for key in secrets.derive(LABEL)]

    def of_request(
        self,
        content: Content,
        path: Mapping[str, object],
        query: str,
        bound: Mapping[str, object],
        method: str = "POST",
    ) -> tuple[str, ...]:
        """Return the candidates of an HTTP request, the present algorithm first.

        Args:
            content: its whole body.
            path: what the router has taken out of the path.
            query: the query string, undecoded; the order of its names does not count.
            bound: arguments of the endpoint, by name.
            method: in upper case; HEAD asks for what GET does.

        Raises:
            SettingsError: an argument that was selected cannot be written as JSON; names it.
        """
        verb = {"POST": [], "HEAD": ["GET"]}.get(method, [method])
        where = _packed([*verb, *(word for name in sorted(path) for word in (name, str(path[name])))])
        return self._sign(where, _Told(bound, content, query))

    def of_call(self, bound: Mapping[str, object], given: Mapping[str, object] | None = None) -> tuple[str, ...]:
        """Return the candidates of a call of a plain function, or of a message.

        Args:
            bound: its arguments by name.
            given: those of them that count where no field is selected; default all.

        Raises:
            SettingsError: an argument cannot be written as JSON; names it.
        """
        return self._sign(b"", _Told(bound, given=bound if given is None else given))

    def _sign(self, where: bytes, told: _Told) -> tuple[str, ...]:
        found = []
        for algorithm, said in (part for way in self._ways for part in way(told)):
            message = _packed((algorithm, self._operation, where, said))
            found += [f"{algorithm}.{name}.{_text(hmac.digest(key, message, 'sha256'))}" for name, key in self._keys]
        return tuple(dict.fromkeys(found))


_Said = tuple[str, bytes]
"""Name of an algorithm, and what it takes from a request."""


class _Told(msgspec.Struct, frozen=True):
    """A call, and the request it came with, if any."""

    bound: Mapping[str, object]
    content: Content | None = None
    query: str = ""
    given: Mapping[str, object] = {}


_Way = Callable[[_Told], Iterable[_Said]]


def read_fingerprint(spec: FingerprintSpec) -> tuple[_Way, ...]:
    """Check what an operation says of its fingerprint; needs no secret, so that decorators can.

    Raises:
        SettingsError: it cannot work; says why.
    """
    specs = spec if isinstance(spec, list) else [spec]
    if not specs:
        message = "fingerprint=[] compares nothing; leave it out to compare everything"
        raise SettingsError(message)
    return tuple(_way(one) for one in specs)


def _way(spec: object) -> _Way:
    if spec is None:
        return _everything
    if callable(spec):
        return _chosen(spec)
    if isinstance(spec, tuple) and spec and all(isinstance(path, str) and all(path.split(".")) for path in spec):
        return _Fields(spec)
    message = (
        f"fingerprint={spec!r}: give a tuple of names such as ('amount', 'currency'), a named function of the "
        "bound arguments, or a list of these with the present one first"
    )
    raise SettingsError(message)


def _everything(told: _Told) -> Iterable[_Said]:
    """Body and query of a request, or all arguments of a call."""
    given, content = told.given, told.content
    if content is None:
        yield "j1", _packed(word for name in sorted(given) for word in (name, _written(given[name], name)))
        return
    # Sorted by name only: the order of several values of one name may mean something.
    pairs = sorted(parse_qsl(told.query, keep_blank_values=True, errors="surrogateescape"), key=lambda pair: pair[0])
    query = _packed(word for pair in pairs for word in pair)
    canonical = content.canonical()
    if canonical is not None:
        yield "j1", _packed((query, hashlib.sha256(canonical).digest()))
    yield "r1", _packed((query, content.digest))


class _Fields:
    """Selected fields: a path begins at a parameter of the endpoint, else it leads into the body.

    Args:
        paths: their names; the order does not count.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = sorted(set(paths))
        self._algorithm = f"s1-{_text(hashlib.sha256(_packed(self._paths)).digest())[:6]}"

    def __call__(self, told: _Told) -> Iterable[_Said]:
        yield self._algorithm, _packed(self._field(path, told) for path in self._paths)

    def _field(self, path: str, told: _Told) -> bytes:
        names = path.split(".")
        try:
            if names[0] in told.bound:
                return b"value" + _written(follow(told.bound, names), path)
            return b"value" + _in_body(path, names, told)
        except LookupError:
            return b"absent"


def _in_body(path: str, names: list[str], told: _Told) -> bytes:
    if told.content is None:
        message = f"fingerprint: {path!r} begins at no parameter of the function ({', '.join(told.bound)})"
        raise SettingsError(message)
    try:
        body = told.content.decoded()
    except ValueError:
        return b"of bytes" + told.content.digest  # it has no fields, so all of it counts
    return _encoder.encode(follow(body, names))


def _chosen(function: Callable[[Mapping[str, Any]], object]) -> _Way:
    """What a function of the application returns; its name tells it from those of other releases."""
    name = getattr(function, "__name__", "")
    if not (name.isidentifier() and name.isascii()) or inspect.iscoroutinefunction(function):
        message = (
            f"fingerprint={function!r}: give a plain function with a name of its own (def …); another release "
            "knows by the name whether it compares the same"
        )
        raise SettingsError(message)
    return lambda told: [(f"c1-{name}", _written(function(told.bound), f"{name}(…)"))]


def _written(value: object, what: str) -> bytes:
    """Write a value as JSON, always the same for the same value."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_plain)
        return _json(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = (
            f"fingerprint: {what!r} is a {type(value).__name__}, which cannot be written as JSON ({error}); say what "
            f"counts with fingerprint=('{what}.id', …), or with a function of the bound arguments"
        )
        raise SettingsError(message) from error


def _json(plain: Any) -> bytes:
    try:
        return _encoder.encode(plain)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say with an escape only
        return json.dumps(plain, sort_keys=True).encode()


def _plain(value: Any) -> Any:
    """Return what stands for a value msgspec does not know: a pydantic model, as its own JSON says it."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        message = f"objects of type {type(value).__name__} are not supported"
        raise TypeError(message)
    return dump(mode="json")


_encoder = msgspec.json.Encoder(order="deterministic")


def _packed(words: Iterable[str | bytes]) -> bytes:
    """Join words, each with its length in front: no two lists of words become one."""
    found = [word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word for word in words]
    return b"".join(len(word).to_bytes(8) + word for word in found)


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode()[:_HASH]
