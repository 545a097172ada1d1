"""The session in Channels, under the name `SessionMiddleware` gives its cookie; saving is explicit."""

from __future__ import annotations

from typing import Any

from channels import auth, sessions  # type: ignore[import-untyped]

from zdd_django.cookies import choose_profile
from zdd_sdk.http.asgi import AsgiApp, Receive, Scope, Send
from zdd_sdk.web.asgi import open_exchange

__all__ = ["AuthMiddlewareStack", "SessionMiddleware", "SessionMiddlewareStack"]

_auth: Any = auth  # only some type checkers know Channels, and its idea of ASGI is not everybody's
_sessions: Any = sessions


class SessionMiddleware(_sessions.SessionMiddleware):  # type: ignore[misc]
    """``scope["session"]``; ``await scope["session"].asave()`` keeps what was changed.

    Channels' own reads ``SESSION_COOKIE_NAME`` as it is written, and saves when an HTTP consumer answers.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve one scope."""
        wrapper = _Wrapper(scope, send)
        await wrapper.resolve_session()
        return await self.inner(wrapper.scope, receive, wrapper.real_send)


class _Wrapper(_sessions.InstanceSessionWrapper):  # type: ignore[misc]
    """Finds the session by the cookie that fits this scope."""

    def __init__(self, scope: Scope, send: Send) -> None:
        super().__init__(scope, send)
        exchange = open_exchange(dict(scope), None)
        self.cookie_name = choose_profile(exchange.header("host") or "", lambda: exchange).name


def SessionMiddlewareStack(inner: AsgiApp) -> AsgiApp:  # noqa: N802 - Channels' own name for it
    """Give an application the session of the visitor."""
    stack: AsgiApp = _sessions.CookieMiddleware(SessionMiddleware(inner))
    return stack


def AuthMiddlewareStack(inner: AsgiApp) -> AsgiApp:  # noqa: N802 - Channels' own name for it
    """Give an application the session and the user of the visitor."""
    return SessionMiddlewareStack(_auth.AuthMiddleware(inner))
