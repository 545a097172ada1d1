"""The application: says what to start when a server begins to serve, and nothing before."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import got_request_exception, setting_changed

from zdd_django.service import forget, get_zdd, start
from zdd_sdk.lifecycle import on_serve

__all__ = ["ZddConfig"]


class ZddConfig(AppConfig):
    """``INSTALLED_APPS += ["zdd_django"]``."""

    name = "zdd_django"
    verbose_name = "zdd-sdk"

    def ready(self) -> None:
        """Register checks and signals; management commands, migrations and shells start nothing more."""
        from zdd_django.checks import register_checks
        from zdd_django.problems import note_failure

        register_checks()
        on_serve(_start)
        setting_changed.connect(_renew, dispatch_uid="zdd")
        got_request_exception.connect(note_failure, dispatch_uid="zdd")


def _start() -> None:
    start(get_zdd())


def _renew(*, setting: str, **_: Any) -> None:
    from zdd_django.cookies import forget_profiles

    if setting == "ZDD" or setting.startswith("SESSION_"):
        forget()
        forget_profiles()
