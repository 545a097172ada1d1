"""zdd-sdk: makes a service safe to deploy without downtime, from inside the service.

`ZeroDowntime` is where everything starts; integrations (``zdd_fastapi``) put it into a framework.
Importing this package imports no redis, no framework, no exporter and no cryptography.
"""

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.errors import (
    SessionGone,
    SessionReadOnly,
    SessionTooLarge,
    SessionUnavailable,
    SessionValueError,
    SettingsError,
    StoreUnavailable,
    ZddError,
)
from zdd_sdk.release import Release
from zdd_sdk.settings import Settings

__all__ = [
    "Release",
    "SessionGone",
    "SessionReadOnly",
    "SessionTooLarge",
    "SessionUnavailable",
    "SessionValueError",
    "Settings",
    "SettingsError",
    "StoreUnavailable",
    "ZddError",
    "ZeroDowntime",
]
