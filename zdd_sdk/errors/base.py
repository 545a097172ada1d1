"""The base of every error, and those of the ground, lifecycle, fleet and rehearsal."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "FleetError",
    "FleetTimeout",
    "FleetUnknown",
    "LifecycleError",
    "MissingExtra",
    "RehearsalError",
    "RequestIncomplete",
    "SecretNotConfigured",
    "SettingsError",
    "StoreNotConfigured",
    "ZddError",
]


class ZddError(Exception):
    """Base of every error zdd-sdk raises on purpose.

    Attributes:
        code: stable short name.
        status: of the HTTP answer.
        public: the message may be shown to a client; else it is the operator's, and only logged.
    """

    code: ClassVar[str] = "zdd-error"
    status: ClassVar[int] = 500
    public: ClassVar[bool] = False

    @property
    def docs(self) -> str:
        """Where this error is explained, relative to the documentation's root."""
        return f"errors.md#{self.code}"


class SettingsError(ZddError, ValueError):
    """An option is unknown, missing, or has a value that cannot work; the message names it."""

    code = "settings"


class StoreNotConfigured(SettingsError):
    """A production marker was found and no store URL is set: an embedded engine would lose everything."""

    code = "store-not-configured"


class SecretNotConfigured(SettingsError):
    """``ZDD_SECRET`` is missing or has fewer than 32 bytes."""

    code = "secret-not-configured"


class MissingExtra(ZddError, ImportError):
    """A feature was constructed whose package is not installed; the message gives the pip command."""

    code = "missing-extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs a package that is not installed: pip install 'zdd-sdk[{extra}]'")


class RequestIncomplete(ZddError, ConnectionError):
    """The client has gone before it had sent its whole request; nothing was done."""

    code = "request-incomplete"
    status = 400
    public = True


class LifecycleError(ZddError, RuntimeError):
    """A drain cannot be carried out as configured, or no instance matches."""

    code = "lifecycle"


class FleetError(ZddError, RuntimeError):
    """Base of what can go wrong with the registry of live workers."""

    code = "fleet"


class FleetUnknown(FleetError):
    """The registry was flushed or out of reach lately and cannot say who is alive."""

    code = "fleet-unknown"
    status = 503


class FleetTimeout(FleetError, TimeoutError):
    """The fleet did not reach the awaited state in time."""

    code = "fleet-timeout"


class RehearsalError(ZddError, RuntimeError):
    """The rehearsal could not be carried out; says which step, with the server's last output."""

    code = "rehearsal"
