"""One place to configure: arguments > ``ZDD_*`` > ``zdd.toml`` or ``[tool.zdd]`` > defaults."""

from zdd_sdk.settings.load import Loaded, load_settings
from zdd_sdk.settings.model import (
    FleetSettings,
    IdempotencySettings,
    LifecycleSettings,
    Option,
    ReleaseSettings,
    SessionSettings,
    Settings,
    StoreSettings,
)
from zdd_sdk.settings.options import Leaf, leaves
from zdd_sdk.settings.production import production_marker

__all__ = [
    "FleetSettings",
    "IdempotencySettings",
    "Leaf",
    "LifecycleSettings",
    "Loaded",
    "Option",
    "ReleaseSettings",
    "SessionSettings",
    "Settings",
    "StoreSettings",
    "leaves",
    "load_settings",
    "production_marker",
]
