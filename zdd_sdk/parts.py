"""`Parts`: builds each part of a service once and hands it its store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import SecretNotConfigured
from zdd_sdk.release import Release, detect_release
from zdd_sdk.secrets import Secrets
from zdd_sdk.settings import Loaded, Settings, load_settings, production_marker

if TYPE_CHECKING:
    from zdd_sdk.fleet import Fleet
    from zdd_sdk.http import Participant
    from zdd_sdk.idempotency import Idempotency
    from zdd_sdk.lifecycle import Lifecycle
    from zdd_sdk.sessions import Sessions
    from zdd_sdk.sessions.adopt_flow import Adoption
    from zdd_sdk.store import Keys, Store
    from zdd_sdk.store.connect import Stores

__all__ = ["Parts"]


class Parts:
    """The parts of one service, each built when it is first asked for; base of `ZeroDowntime`.

    Args:
        arguments: the options given in code.
        credentials: returns user name and password for each new connection to Redis.
        directory: where ``zdd.toml`` or ``pyproject.toml`` lies.

    Attributes:
        arguments: the options given in code, not those from environment and file.
        loaded: all options, with where each is from.

    Raises:
        SettingsError: an unknown option or an impossible value.
    """

    def __init__(
        self,
        arguments: dict[str, Any],
        credentials: Callable[[], tuple[str | None, str]] | None,
        directory: Path | None,
    ) -> None:
        self._directory = directory
        self._credentials = credentials
        self._lock = threading.Lock()
        self._adoption: Adoption | None = None
        self._followers: tuple[Any, bool] = (None, False)
        self.arguments = arguments
        self.loaded: Loaded = load_settings(arguments, directory=directory)
        if self.settings.sessions.enabled:
            from zdd_sdk.sessions.core import check_settings

            # Here, not where sessions are built: that is inside the lifespan, where a server takes an
            # error for "this application has no lifespan" and serves all the same.
            check_settings(self.settings.sessions)

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.loaded.values

    @property
    def stock(self) -> bool:
        """Whether ``ZDD_MODE=stock``: the service behaves as if it had never heard of zdd (rehearsals only)."""
        return self.settings.mode == "stock"

    @cached_property
    def release(self) -> Release:
        """Which release this process runs, each field with where it was learned from."""
        return detect_release(
            self.settings.release,
            self.settings.environment,
            directory=self._directory or Path.cwd(),
            origins=self.loaded.origins,
        )

    @cached_property
    def keys(self) -> Keys:
        """Names of this service's keys in Redis."""
        from zdd_sdk.store import Keys

        return Keys(self.settings.service, self.settings.environment)

    @cached_property
    def stores(self) -> Stores:
        """The asyncio and the blocking store; nothing connects until one is asked."""
        from zdd_sdk.store.connect import Stores

        return Stores(self.settings.store, self.keys, on_breaker_open=self._wake, credentials=self._credentials)

    def aio_store(self) -> Store | None:
        """Return the store for the running event loop, or ``None`` where the service has none."""
        return self.stores.aio if self._has_store else None

    def blocking_store(self) -> Store | None:
        """Return the store for threads, or ``None`` where the service has none."""
        return self.stores.blocking if self._has_store else None

    @cached_property
    def _has_store(self) -> bool:
        return not self.stock and self.settings.store.redis_url != "off"

    @cached_property
    def secrets(self) -> Secrets:
        """The root secrets; in development one that is kept beside the embedded engine.

        Raises:
            SecretNotConfigured: outside development without ``ZDD_SECRET``, or one too short.
        """
        from zdd_sdk.store.embedded import development_secret

        roots = self.settings.secret
        if not roots and (marker := production_marker(self.settings.environment, os.environ)):
            message = (
                f"ZDD_SECRET is not set, and this is production ({marker}): "
                "give at least 32 random bytes, e.g. the output of `openssl rand -hex 32`"
            )
            raise SecretNotConfigured(message)
        return Secrets(roots or (development_secret(self.settings.service, self.settings.environment),))

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """States, health and drain of this process."""
        from zdd_sdk.lifecycle import Lifecycle

        lifecycle = Lifecycle(
            self.settings.lifecycle,
            service=self.settings.service,
            environment=self.settings.environment,
            release={"id": self.release.id, "label": self.release.label},
        )
        lifecycle.on_stop(self._close)  # the first hook added is the last one called: Redis last
        return lifecycle

    @cached_property
    def fleet(self) -> Fleet:
        """Who else is alive."""
        from zdd_sdk.fleet import Fleet

        fleet = Fleet(
            self.settings.fleet,
            self.keys,
            lambda: self.stores.blocking,
            release=self.release,
            instance=self.lifecycle.instance,
            fingerprint=self.loaded.fingerprint(),
            shown=self.loaded.shown(),
            lifecycle_state=lambda: self.lifecycle.state.value,
        )
        if self.settings.sessions.enabled:
            from zdd_sdk.sessions import SessionReader

            fleet.add(SessionReader())
        if self.settings.idempotency.enabled:
            fleet.add(self.idempotency.live)
        self.lifecycle.on_stop(fleet.stop)
        return fleet

    @cached_property
    def sessions(self) -> Sessions:
        """Users' sessions."""
        from zdd_sdk.sessions import Sessions

        return Sessions(
            self.settings.sessions,
            self.keys,
            lambda: self.secrets,
            release=self.release.label,
            blocking=self.blocking_store,
            aio=self.aio_store,
            can_rotate=self._all_follow_rotations,
            stock=self.stock,
        )

    def _all_follow_rotations(self) -> bool:
        """Whether every live worker does; worked out once per view, since each request asks."""
        if not self._pulses:
            return False
        view = self.fleet.view
        if view is not self._followers[0]:
            from zdd_sdk.sessions.reader import FOLLOWS_ROTATIONS

            self._followers = (view, FOLLOWS_ROTATIONS in (view.common("sessions") or ()))
        return self._followers[1]

    def adoption(self, user_field: str, cookie: str | None = None) -> Adoption | None:
        """Return what takes over the sessions of a framework, the same object each time; ``None`` if nothing does.

        Args:
            user_field: field of the framework's session that says who is logged in.
            cookie: name of our cookie, where ``sessions.cookie_name`` is the framework's own.
        """
        settings = self.settings.sessions
        if settings.adopt == "off" or not settings.enabled or not self._has_store:
            return None
        with self._lock:
            if self._adoption is None:
                from zdd_sdk.sessions.adopt_count import Tally
                from zdd_sdk.sessions.adopt_flow import Adoption

                tally = Tally(self.keys, settings.adopt)
                self.fleet.add(tally)
                self._adoption = Adoption(self.sessions, settings, tally, user_field=user_field, cookie=cookie)
        return self._adoption

    @cached_property
    def idempotency(self) -> Idempotency:
        """Idempotency keys."""
        from zdd_sdk.idempotency import Idempotency

        part = Idempotency(
            self.settings.idempotency,
            self.keys,
            instance=self.lifecycle.instance,
            release=self.release.label,
            draining=lambda: self.lifecycle.draining,
        )
        self.lifecycle.on_stop(lambda: part.hand_over(self.blocking_store()))
        return part

    @cached_property
    def participants(self) -> tuple[Participant, ...]:
        """The parts that take part in exchanges, in their fixed order."""
        sessions = (self.sessions,) if self.settings.sessions.enabled else ()
        return (*sessions, self.idempotency) if self.settings.idempotency.enabled else sessions

    @cached_property
    def _pulses(self) -> bool:
        return self._has_store and self.settings.fleet.enabled

    def _wake(self) -> None:
        """Pulse soon: the breaker has opened."""

    def _close(self) -> None:
        """Close what is left, last of all."""
