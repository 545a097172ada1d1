"""System checks: every setting that would lose requests or sessions, named by ``manage.py check``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, Warning  # noqa: A004 - Django's own name

from zdd_django.brackets import find
from zdd_django.service import DJANGO_WORDS, get_zdd
from zdd_sdk.errors import ZddError
from zdd_sdk.idempotency.browser import cors_gap
from zdd_sdk.lifecycle.model import keep_alive_finding
from zdd_sdk.settings import production_marker

__all__ = ["register_checks"]

ZDD_MIDDLEWARE = "zdd_django.middleware.ZddMiddleware"
SESSION_MIDDLEWARE = "zdd_django.middleware.SessionMiddleware"
DJANGO_SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
ENGINE = "zdd_django.sessions"


def register_checks() -> None:
    """Register the checks; those for a deployment run with ``manage.py check --deploy``."""
    checks.register(_collected(_options), Tags.compatibility)
    checks.register(_collected(_middleware, _sessions), Tags.compatibility)
    checks.register(_collected(_idempotent), Tags.urls)
    checks.register(_collected(_production, _cookie, _connections), Tags.security, deploy=True)


def _collected(*finders: Callable[[], Iterator[CheckMessage]]) -> Callable[..., Sequence[CheckMessage]]:
    def check(**_: Any) -> Sequence[CheckMessage]:
        return [message for find in finders for message in find()]

    return check


def _options() -> Iterator[CheckMessage]:
    try:
        get_zdd()
    except ZddError as error:
        yield Error(f"settings.ZDD: {error}", id="zdd.E001")
    given = getattr(settings, "ZDD", {})
    if isinstance(given, Mapping):
        yield from _said_twice(given)


def _said_twice(given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    part = given.get("sessions", {})
    names = {*part} if isinstance(part, Mapping) else set()
    names |= {str(name).removeprefix("sessions.") for name in given}
    for option in sorted(names & DJANGO_WORDS.keys()):
        text = f"settings.ZDD says sessions.{option}, for which Django has a setting of its own."
        yield Error(text, hint=f"Set {DJANGO_WORDS[option]} instead.", id="zdd.E002")


def _middleware() -> Iterator[CheckMessage]:
    order = list(settings.MIDDLEWARE)
    if ZDD_MIDDLEWARE not in order:
        text = "ZddMiddleware is not in MIDDLEWARE: no health, no drain, and errors of Redis are answered with 500."
        yield Error(text, hint=f"Put {ZDD_MIDDLEWARE!r} first.", id="zdd.E003")
    elif order[0] != ZDD_MIDDLEWARE:
        text = (
            f"{order[0]} comes before ZddMiddleware: what it answers itself has no exchange, and probes may not arrive."
        )
        yield Error(text, hint=f"Put {ZDD_MIDDLEWARE!r} first.", id="zdd.E004")
    if SESSION_MIDDLEWARE in order and DJANGO_SESSION_MIDDLEWARE in order:
        text = "Both SessionMiddleware are in MIDDLEWARE: the second one replaces the session of the first."
        yield Error(text, hint=f"Remove {DJANGO_SESSION_MIDDLEWARE!r}.", id="zdd.E005")


def _adopts() -> bool:
    try:
        return get_zdd().settings.sessions.adopt != "off"
    except ZddError:
        return False  # said elsewhere


def _sessions() -> Iterator[CheckMessage]:
    order, ours = list(settings.MIDDLEWARE), settings.SESSION_ENGINE == ENGINE
    if SESSION_MIDDLEWARE in order and not ours and not _adopts():
        text = f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions are Django's own, with what they lose."
        yield Warning(text, hint=f"Set SESSION_ENGINE = {ENGINE!r}.", id="zdd.W001")
    if ours and DJANGO_SESSION_MIDDLEWARE in order and SESSION_MIDDLEWARE not in order:
        text = "SESSION_ENGINE is zdd's, but the middleware is Django's, which deletes cookies that Redis did not know."
        yield Error(text, hint=f"Put {SESSION_MIDDLEWARE!r} in its place.", id="zdd.E006")
    if "pickle" in settings.SESSION_SERIALIZER.lower():
        text = (
            "SESSION_SERIALIZER pickles: who can write to the store runs code here, and classes change with releases."
        )
        yield Error(text, hint="Remove SESSION_SERIALIZER, and keep plain values in sessions.", id="zdd.E007")


def _idempotent() -> Iterator[CheckMessage]:
    try:
        zdd = get_zdd()
    except ZddError:
        return  # zdd.E001
    if zdd.settings.idempotency.enabled and not zdd.stock:
        for finding in find(zdd):
            yield Error(finding.text, hint=finding.hint, id=finding.id)
        yield from _cors(wanted=any(bracket.endpoint for bracket in zdd.brackets))


def _cors(*, wanted: bool) -> Iterator[CheckMessage]:
    if not wanted or "corsheaders.middleware.CorsMiddleware" not in settings.MIDDLEWARE:
        return
    # Without CORS_ALLOW_HEADERS the package allows its own default_headers, of which Idempotency-Key is none.
    allowed, exposed = (getattr(settings, name, ()) for name in ("CORS_ALLOW_HEADERS", "CORS_EXPOSE_HEADERS"))
    if gap := cors_gap(allowed, exposed, credentials=getattr(settings, "CORS_ALLOW_CREDENTIALS", False)):
        gap = gap.replace("allow_headers", "CORS_ALLOW_HEADERS").replace("expose_headers", "CORS_EXPOSE_HEADERS")
        yield Warning(f"Browsers of other origins cannot use idempotency keys: {gap}.", id="zdd.W009")


def _production() -> Iterator[CheckMessage]:
    try:
        zdd = get_zdd()
    except ZddError:
        return  # zdd.E001
    for look in (lambda: zdd.secrets, zdd.stores.check):
        try:
            look()
        except ZddError as error:
            yield Error(str(error), id="zdd.E008")
    if zdd.stock:
        yield Error("ZDD mode is stock, which switches zdd off.", hint="It is for rehearsals only.", id="zdd.E009")
    yield from _keep_alive(zdd.settings.lifecycle.proxy_idle_timeout, production_marker(zdd.settings.environment, {}))


def _keep_alive(proxy: float | None, production: str | None) -> Iterator[CheckMessage]:
    if proxy is None and production:
        text = "Nothing says how long the proxy keeps idle connections; a server that closes first fails requests."
        hint = 'Set ZDD["lifecycle"]["proxy_idle_timeout"]; `zdd serve` then compares it with the server\'s keep-alive.'
        yield Warning(text, hint=hint, id="zdd.W002")
    said = os.environ.get("UVICORN_TIMEOUT_KEEP_ALIVE", "")
    if said.isdigit() and (finding := keep_alive_finding(float(said), proxy)):
        yield Warning(finding, id="zdd.W003")


def _cookie() -> Iterator[CheckMessage]:
    name = settings.SESSION_COOKIE_NAME
    if settings.is_overridden("SESSION_COOKIE_SECURE") and not settings.SESSION_COOKIE_SECURE:
        text = "SESSION_COOKIE_SECURE is off: anybody on the way can read the session's cookie, and plant one."
        yield Warning(text, hint="Remove it, or set it to True.", id="zdd.W004")
    elif settings.is_overridden("SESSION_COOKIE_NAME") and not name.startswith(("__Host-", "__Secure-")):
        text = f"SESSION_COOKIE_NAME {name!r} has no prefix: any subdomain can plant a session's cookie."
        yield Warning(text, hint=f"Call it '__Host-{name}', or remove it.", id="zdd.W005")
    if not settings.SESSION_COOKIE_HTTPONLY:
        text = "SESSION_COOKIE_HTTPONLY is off: a script can take the session away."
        yield Warning(text, hint="Remove it.", id="zdd.W006")
    if str(settings.SESSION_COOKIE_SAMESITE).capitalize() not in {"Lax", "Strict"}:
        text = "SESSION_COOKIE_SAMESITE lets any site send the session's cookie along."
        yield Warning(text, hint="Use 'Lax'.", id="zdd.W007")


def _connections() -> Iterator[CheckMessage]:
    if not getattr(settings, "ASGI_APPLICATION", None):
        return
    for alias, database in settings.DATABASES.items():
        if database.get("CONN_MAX_AGE", 0) != 0:
            text = f"DATABASES[{alias!r}] keeps connections (CONN_MAX_AGE), of which ASGI leaves one open per thread."
            yield Warning(text, hint="Set CONN_MAX_AGE to 0, or use the backend's pool.", id="zdd.W008")
