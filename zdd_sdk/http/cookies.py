"""Cookies: every value of a name, bounded, and a ``Set-Cookie`` line (RFC 6265bis)."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate

__all__ = ["MAX_COOKIE_HEADER", "MAX_COOKIE_VALUES", "cookie_values", "delete_cookie", "set_cookie"]

MAX_COOKIE_HEADER = 16 * 1024
"""Bytes of ``Cookie`` headers read per request; what lies beyond is ignored (nginx refuses 8 KiB by default)."""

MAX_COOKIE_VALUES = 4
"""Same-named cookies tried per request; a browser sends more than one only for overlapping domains or paths."""


def cookie_values(headers: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the values of all cookies called ``name``, in the order sent, at most `MAX_COOKIE_VALUES`.

    Quotes around a value are dropped; a malformed pair is skipped, never an error, because a request
    must not fail for a cookie that some other application on the domain has set.
    """
    found: list[str] = []
    room = MAX_COOKIE_HEADER
    for header in headers:
        for pair in header[:room].split(";"):
            key, separator, value = pair.partition("=")
            if separator and key.strip() == name:
                found.append(value.strip().strip('"'))
        room -= len(header)
        if room <= 0:
            break
    return tuple(found[:MAX_COOKIE_VALUES])


def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None,
    path: str = "/",
    domain: str | None = None,
    secure: bool = True,
    same_site: str = "Lax",
) -> str:
    """Write the value of one ``Set-Cookie`` header; always HttpOnly.

    Args:
        name: the full name, prefix included.
        value: cookie-octets only; the caller made it.
        max_age: seconds, or ``None`` for a cookie that ends with the browser.
        path: Path attribute.
        domain: Domain attribute, or none.
        secure: whether to add Secure.
        same_site: ``Lax``, ``Strict`` or ``None``.
    """
    parts = [f"{name}={value}", f"Path={path}"]
    if domain:
        parts.append(f"Domain={domain}")
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    parts += ["HttpOnly", f"SameSite={same_site}"]
    if secure:
        parts.append("Secure")
    return "; ".join(parts)


def delete_cookie(name: str, *, path: str = "/", domain: str | None = None, secure: bool = True) -> str:
    """Write a ``Set-Cookie`` header that removes the cookie; attributes must match those it was set with."""
    line = set_cookie(name, "", max_age=0, path=path, domain=domain, secure=secure)
    return f"{line}; Expires={formatdate(0, usegmt=True)}"
