"""`ZeroDowntime`: builds each part once and hands it its store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from zdd_sdk.errors import SecretNotConfigured
from zdd_sdk.release import Release, detect_release
from zdd_sdk.secrets import Secrets
from zdd_sdk.settings import Loaded, Settings, load_settings, production_marker

if TYPE_CHECKING:
    from zdd_sdk.fleet import Fleet
    from zdd_sdk.http import Participant
    from zdd_sdk.lifecycle import Lifecycle
    from zdd_sdk.sessions import Sessions
    from zdd_sdk.sessions.adopt_flow import Adoption
    from zdd_sdk.store import Keys, Store
    from zdd_sdk.store.connect import Stores

__all__ = ["ZeroDowntime"]

F = TypeVar("F", bound=Callable[..., Any])


class ZeroDowntime:
    """One service, made safe to deploy. Create it once, at import; it connects and starts nothing until served.

    Args:
        service: name of the service; names the keys in Redis.
        environment: deployment environment; names the keys in Redis.
        redis_url: where Redis is; default ``ZDD_REDIS_URL``, else an embedded engine in development.
        redis_credentials: returns user name (or ``None``) and password for each new connection to Redis, for
            managed services with short-lived tokens; must not block.
        directory: where ``zdd.toml`` or ``pyproject.toml`` lies; default the working directory.
        options: any other option, by part: ``sessions={"idle_timeout": "1h"}``.

    Attributes:
        arguments: the options given here, not those from environment and file.

    Raises:
        SettingsError: an unknown option or an impossible value.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        environment: str | None = None,
        redis_url: str | None = None,
        redis_credentials: Callable[[], tuple[str | None, str]] | None = None,
        directory: Path | None = None,
        **options: Any,
    ) -> None:
        given = {"service": service, "environment": environment, "store.redis_url": redis_url}
        arguments = {**options, **{name: value for name, value in given.items() if value is not None}}
        self._directory = directory
        self._credentials = redis_credentials
        self._pid = 0
        self._lock = threading.Lock()
        self._around: ZeroDowntime | None = None
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
    def participants(self) -> tuple[Participant, ...]:
        """The parts that take part in exchanges, in their fixed order."""
        return (self.sessions,) if self.settings.sessions.enabled else ()

    @overload
    def check(self, function: F, *, critical: bool = False, name: str | None = None) -> F: ...

    @overload
    def check(self, function: None = None, *, critical: bool = False, name: str | None = None) -> Callable[[F], F]: ...

    def check(self, function: Any = None, *, critical: bool = False, name: str | None = None) -> Any:
        """Register a dependency check: ``@zdd.check`` or ``@zdd.check(critical=True)``.

        Args:
            function: sync or async, no arguments; healthy unless it raises or returns ``False``.
            critical: take this instance out of rotation while the check fails.
            name: how health answers call it; default the function's name.
        """
        return self.lifecycle.check(function, critical=critical, name=name)

    @property
    def started(self) -> bool:
        """Whether this process (not its parent before a fork) has started."""
        return self._pid == os.getpid()

    def start(self) -> None:
        """Check the configuration, start the background threads and report ready; once per process.

        Connects nothing itself: a service boots without Redis. Where a server adapter is at work, it
        reports ready when the server accepts connections.

        Raises:
            StoreNotConfigured: no store URL in production.
            SecretNotConfigured: no secret in production.
        """
        from zdd_sdk.lifecycle import activate

        with self._lock:
            if self.started:
                return
            if self._has_store:
                self.secrets.derive("start")
                self.stores.check()
                self.stores.load()
            if self._around is None:
                activate(self.lifecycle)
            self.lifecycle.start()
            if self._pulses:
                self.fleet.start()
            if self.lifecycle.adapter is None:
                self.lifecycle.mark_ready()
            self._pid = os.getpid()

    def on_request(self) -> None:
        """Note that a request came; for drivers. Starts what a server without a lifespan or a fork hook did not."""
        if not self.started:
            self.start()
        elif self._pulses:
            self.fleet.on_request()

    def follow(self, around: ZeroDowntime) -> None:
        """Drain and stop with another service, within whose application this one is mounted; for drivers.

        Servers drive one lifecycle and send one lifespan: those of the application they serve.
        """
        if self._around is around:
            return
        self._around = around
        around.lifecycle.on_drain(lambda: self.lifecycle.begin_drain(""))
        around.lifecycle.on_stop(lambda: self._stop_with(around))

    def _stop_with(self, around: ZeroDowntime) -> Any:
        # Under WSGI there is no loop that could await a shutdown, and no asyncio store to close.
        return self.lifecycle.stop() if around.lifecycle.checks.run_on_loop is None else self.shutdown()

    async def shutdown(self) -> None:
        """Run the shutdown hooks, last added first, say goodbye to the fleet, close the stores; Redis last."""
        if not self.started:
            return
        from zdd_sdk.lifecycle.asgi import stop

        await stop(self.lifecycle)
        if self._has_store:
            await self.stores.aio.close()

    def _close(self) -> None:
        if self._has_store:
            self.stores.close()
        self._pid = 0

    @cached_property
    def _pulses(self) -> bool:
        return self._has_store and self.settings.fleet.enabled

    def _wake(self) -> None:
        if self._pulses and self.started:
            self.fleet.wake()
