"""What goes wrong with a user's session."""

from __future__ import annotations

from zdd_sdk.errors.base import ZddError

__all__ = [
    "SessionConflict",
    "SessionCrossSite",
    "SessionError",
    "SessionGone",
    "SessionLoginNeeded",
    "SessionReadOnly",
    "SessionTooLarge",
    "SessionUnavailable",
    "SessionValueError",
]


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
