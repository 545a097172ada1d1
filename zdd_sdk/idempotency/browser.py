"""What pages of other origins must be let send and read (CORS), for a browser to be a client that tries again."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from inspect import getattr_static
from typing import Any

__all__ = ["READ", "SENT", "cors_gap", "cors_gaps"]

SENT = ("Idempotency-Key",)
"""Request headers an idempotent endpoint wants; ``allow_headers``."""

READ = ("Idempotency-Key-Lifetime", "Idempotency-Stored", "Idempotent-Replayed", "Retry-After", "x-should-retry")
"""Response headers that tell a client what to do; without ``expose_headers`` a browser hides them from the page."""


def cors_gap(allowed: Iterable[str], exposed: Iterable[str], *, credentials: bool = False) -> str:
    """Say what is missing; empty if nothing is.

    Args:
        allowed: request headers that may be sent; ``"*"`` for any, which CORS middleware writes out.
        exposed: response headers that may be read; ``"*"`` for any.
        credentials: cookies are allowed; browsers then take ``"*"`` literally.
    """
    lacks = {
        "allow_headers": _lacking(SENT, allowed),
        "expose_headers": _lacking(READ, [name for name in exposed if not (credentials and name == "*")]),
    }
    return "; ".join(f"{option} lacks {', '.join(names)}" for option, names in lacks.items() if names)


def cors_gaps(app: object) -> Iterator[str]:
    """Yield what the CORS middleware of a Starlette or Flask application lacks; of other objects nothing."""
    for entry in getattr_static(app, "user_middleware", ()):
        if getattr(entry.cls, "__name__", "") == "CORSMiddleware":
            said = entry.kwargs
            credentials = bool(said.get("allow_credentials"))
            if gap := cors_gap(said.get("allow_headers", ()), said.get("expose_headers", ()), credentials=credentials):
                yield f"CORSMiddleware: {gap}"
    after: Any = getattr_static(app, "after_request_funcs", {})
    for function in after.get(None, ()):
        if function.__module__.startswith("flask_cors."):
            # Flask-CORS keeps its resources nowhere else.
            for _, options in inspect.getclosurevars(function).nonlocals.get("resources", ()):
                if gap := _flask_gap(*(_option(options, name) for name in _FLASK_OPTIONS)):
                    yield f"Flask-CORS: {gap}"


_FLASK_OPTIONS = ("allow_headers", "expose_headers", "supports_credentials")


def _option(options: Any, name: str) -> Any:
    return options.get(name) if isinstance(options, dict) else getattr(options, name)


def _flask_gap(allowed: Any, exposed: Any, credentials: Any) -> str:
    patterns = [allowed] if isinstance(allowed, str) else allowed or ()
    sent = [name for name in SENT if any(_fits(pattern, name) for pattern in patterns)]
    read = [name.strip() for name in exposed.split(",")] if isinstance(exposed, str) else exposed or ()
    return cors_gap(sent, read, credentials=bool(credentials))


def _fits(pattern: Any, name: str) -> bool:
    if isinstance(pattern, re.Pattern):
        return pattern.match(name) is not None
    return str(pattern).lower() in {"*", ".*", name.lower()}


def _lacking(wanted: Iterable[str], given: Iterable[str]) -> list[str]:
    known = {name.lower() for name in given}
    return [] if "*" in known else [name for name in wanted if name.lower() not in known]
