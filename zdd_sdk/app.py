"""`ZeroDowntime`: one service: its decorators, and how it starts and stops."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from zdd_sdk.parts import Parts

if TYPE_CHECKING:
    from zdd_sdk.idempotency import Effects, KeyOf, Principal, Said
    from zdd_sdk.idempotency.bracket import Bracket

__all__ = ["ZeroDowntime"]

F = TypeVar("F", bound=Callable[..., Any])


class ZeroDowntime(Parts):
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
        brackets: what was decorated with `idempotent` and `idempotent_consumer`, in order.

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
        super().__init__(arguments, redis_credentials, directory)
        self.brackets: list[Bracket[Any]] = []
        self._pid = 0
        self._around: ZeroDowntime | None = None
        self._before_serving: list[Callable[[], object]] = []

    def idempotent(
        self,
        *,
        operation: str,
        effects: Effects,
        principal: Principal | None = None,
        key: KeyOf | None = None,
        required: bool = True,
        **said: Unpack[Said],
    ) -> Callable[[F], F]:
        """Run a function once per key: an endpoint by its ``Idempotency-Key``, any other by ``key``.

        It goes right above the function, below the framework's own decorator.

        Args:
            operation: name of what is done, such as ``"orders.create"``; the same in every release.
            effects: ``"db"``: everything it does is in one transaction of a database with a registered guard;
                ``"external"``: it calls others with `Context.child_key`; ``"unsafe"``: neither; ``"pure"``: nothing.
            principal: whose keys: a parameter path (``"user.id"``), a callable of the bound arguments, or
                ``"anonymous"``; default ``idempotency.principal``.
            key: for plain functions: where the key is, as ``principal``.
            required: answer 400 where the request has none.
            said: ``retention``, ``body_ttl``, ``wait`` (durations; defaults of ``idempotency``), ``fingerprint``
                (names of fields, or a callable), ``on_unknown`` (``"hold"``, ``"takeover"`` or a probe),
                ``on_error`` (``"hold"`` or ``"store"``, for ``unsafe``), ``answer`` (makes the answer of an effect
                whose own was lost), ``guard`` (name of the guard, where several databases have one).

        Raises:
            SettingsError: what is said cannot work.
        """
        from zdd_sdk.idempotency.decorate import decorate

        return lambda function: decorate(
            self,
            function,
            operation=operation,
            effects=effects,
            principal=principal,
            key=key,
            required=required,
            said=said,
        )

    def idempotent_consumer(
        self,
        *,
        operation: str,
        effects: Effects,
        key: KeyOf,
        visibility_timeout: str | float | None = None,
        **said: Unpack[Said],
    ) -> Callable[[F], F]:
        """Handle a message once, however often the broker brings it.

        Args:
            operation: name of the consumer group and what it does; the same in every release.
            effects: as in `idempotent`.
            key: where the message's id, or the business key, is among the handler's arguments.
            visibility_timeout: of the broker; the lease must be at most 0.8 of it.
            said: as in `idempotent`.

        Raises:
            SettingsError: what is said cannot work.
        """
        from zdd_sdk.idempotency.decorate import consumer

        return lambda function: consumer(
            self,
            function,
            operation=operation,
            effects=effects,
            key=key,
            visibility_timeout=visibility_timeout,
            said=said,
        )

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
                self._check_brackets()
            if self._around is None:
                activate(self.lifecycle)
            self.lifecycle.start()
            if self._pulses:
                self.fleet.start()
            if self.lifecycle.adapter is None:
                self.lifecycle.mark_ready()
            self._pid = os.getpid()

    def before_serving(self, check: Callable[[], object]) -> None:
        """Call ``check()`` when the service starts, once the application is loaded; what it raises refuses to serve."""
        self._before_serving.append(check)

    def _check_brackets(self) -> None:
        if self.brackets and self.settings.idempotency.enabled:
            pulse = self.settings.fleet.pulse if self._pulses and self.fleet.steady else None
            chosen = self.loaded.origins["idempotency.lease"] != "default"
            self.idempotency.check(self.brackets, pulse, unrenewed=chosen or self.fleet.silent)
            for check in self._before_serving:
                check()

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

    def _wake(self) -> None:
        if self._pulses and self.started:
            self.fleet.wake()
