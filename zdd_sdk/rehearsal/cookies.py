"""A cookie jar for one virtual user, as a browser behind a TLS terminator has it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Jar"]


class Jar:
    """Keeps what ``Set-Cookie`` says and gives it back.

    Secure and ``__Host-`` cookies are kept and sent although the rehearsal speaks plain HTTP: in front
    of the real service something ends TLS. Domains are not looked at, because there is one site.
    """

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._cookies)

    def get(self, name: str) -> str | None:
        """The value of a cookie, whatever its path."""
        return next((value for (key, _), value in self._cookies.items() if key == name), None)

    def set(self, name: str, value: str, path: str = "/") -> None:
        """Keep a cookie as if the server had sent it."""
        self._cookies[name, path] = value

    def clear(self) -> None:
        """Forget everything."""
        self._cookies.clear()

    def learn(self, lines: Iterable[str]) -> None:
        """Take in the values of ``Set-Cookie`` headers; an expired one removes its cookie."""
        for line in lines:
            pair, *rest = line.split(";")
            name, separator, value = pair.partition("=")
            if not separator:
                continue
            attributes = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in rest)}
            key = (name.strip(), attributes.get("path") or "/")
            if _expired(attributes):
                self._cookies.pop(key, None)
            else:
                self._cookies[key] = value.strip()

    def header(self, path: str) -> str:
        """The ``Cookie`` header for a request to ``path``; empty if there is nothing to send."""
        return "; ".join(f"{name}={value}" for (name, scope), value in self._cookies.items() if _covers(scope, path))


def _covers(scope: str, path: str) -> bool:
    return path == scope or path.startswith(scope if scope.endswith("/") else f"{scope}/")


def _expired(attributes: dict[str, str]) -> bool:
    if age := attributes.get("max-age"):
        return age.lstrip("-").isdigit() and int(age) <= 0
    try:
        moment = parsedate_to_datetime(attributes["expires"])
    except (KeyError, ValueError):
        return False
    return moment.replace(tzinfo=moment.tzinfo or UTC) <= datetime.now(UTC)
