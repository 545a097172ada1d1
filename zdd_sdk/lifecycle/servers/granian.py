"""granian: `ZddGranian` and `main` like its own, for ASGI and WSGI applications.

granian's native core owns the sockets and stops at once when told to. So the drain goes first, in a thread of the
worker: the application's answers say close, the listener is emptied and closed under the core, and only when
nothing is in flight any more the core is told to stop.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from granian._internal import load_target
from granian.constants import Interfaces
from granian.server import Server
from granian.server.mp import MPServer

from zdd_sdk.errors import LifecycleError
from zdd_sdk.lifecycle.servers.granian_worker import current, load
from zdd_sdk.lifecycle.servers.own import own_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.servers.told import Leaving, Told
from zdd_sdk.settings import load_settings

__all__ = ["ZddGranian", "main"]


def _spawn(spawn: Callable[..., None], *arguments: Any) -> None:
    """Serve; what granian calls a spawn target."""
    spawn(*arguments)
    current[0].finish()


def _serve_asgi(*arguments: Any) -> None:
    _spawn(MPServer._spawn_asgi_lifespan_worker, *arguments)  # noqa: SLF001


def _serve_asgi_without_lifespan(*arguments: Any) -> None:
    _spawn(MPServer._spawn_asgi_worker, *arguments)  # noqa: SLF001


def _serve_wsgi(*arguments: Any) -> None:
    _spawn(MPServer._spawn_wsgi_worker, *arguments)  # noqa: SLF001


_SPAWNS: dict[Interfaces, Callable[..., None]] = {
    Interfaces.ASGI: _serve_asgi,
    Interfaces.ASGINL: _serve_asgi_without_lifespan,
    Interfaces.WSGI: _serve_wsgi,
}


_Base: Any = MPServer


class ZddGranian(_Base):  # type: ignore[misc]  # granian's types are partial
    """A granian server whose workers drain on SIGTERM; takes what granian's ``Server`` takes.

    First SIGTERM: drain. Second one, SIGINT, or SIGTERM at a terminal: no lag and no linger.
    With ``reload=True`` this *is* granian's.
    """

    _ending = False
    _now = False

    def serve(self, spawn_target: Any = None, target_loader: Any = None, wrap_loader: bool = True) -> None:
        """Serve until a signal ends it.

        Raises:
            LifecycleError: for RSGI, or a port chosen by the kernel.
        """
        if self.reload_on_changes:
            super().serve(spawn_target, target_loader, wrap_loader)
            return
        address = str(self.bind_uds) if self.bind_uds else self.bind_port
        if self.interface not in _SPAWNS:
            message = f"zdd serve granian needs --interface asgi, asginl or wsgi, not {self.interface}"
            raise LifecycleError(message)
        if not address:
            message = "zdd serve granian needs a port: which one the kernel chose for port 0, granian does not say"
            raise LifecycleError(message)
        os.environ.setdefault("ZDD_INSTANCE", own_lifecycle().instance)
        self._leave_time_to_drain()
        application: Any = partial(load_target, self.target, wd=self.working_dir, factory=self.factory)
        if target_loader:
            application = partial(target_loader, self.target) if wrap_loader else target_loader
        loader = partial(load, application, address, self._keep_alive(), self.interface)
        super().serve(spawn_target or _SPAWNS[self.interface], loader, wrap_loader=False)

    def _leave_time_to_drain(self) -> None:
        """``workers_kill_timeout`` counts from SIGTERM: let it count from where granian's own stop begins."""
        if self.workers_kill_timeout:
            settings = own_lifecycle().settings
            self.workers_kill_timeout += math.ceil(settings.drain_lag + settings.linger + settings.hooks_timeout)

    def _keep_alive(self) -> float:
        settings = self.http1_settings
        if settings is None or not settings.keep_alive:
            return 0.0 if settings else math.inf
        # It is the time to the end of the next request's head, idle time included.
        return float(settings.header_read_timeout) / 1000

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:
        told = Told()
        worker: Any = super()._spawn_worker(idx, target, partial(callback_loader, told))
        terminate = worker.terminate

        def leave() -> None:
            told.leaving = self._why()
            terminate()

        worker.terminate, worker.told = leave, told
        return worker

    def _respawn_workers(self, workers: Sequence[int], *rest: Any, delay: float = 0) -> None:
        """Replace workers one by one, but begin no further one once told to end."""
        for index in workers:
            if not self.interrupt_signal:
                super()._respawn_workers([index], *rest, delay=delay)
        if self.interrupt_signal:
            self.main_loop_interrupt.set()  # granian clears it when a reload begins, whoever has set it

    def _why(self) -> Leaving:
        if not self._ending:
            return Leaving.ALONE
        return Leaving.NOW if self._now or at_terminal() else Leaving.INSTANCE

    def signal_handler_interrupt(self, *arguments: Any, **options: Any) -> None:
        """Begin to end; a further signal is for the workers."""
        number = arguments[0] if arguments else signal.SIGTERM
        self._now = self._now or number == signal.SIGINT
        if self._ending:
            for worker in self.wrks:
                worker.told.leaving = Leaving.NOW
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker._id(), number)  # noqa: SLF001
        super().signal_handler_interrupt(*arguments, **options)

    def shutdown(self, exit_code: int = 0) -> None:
        """Let the workers drain, and end."""
        self._ending = True
        super().shutdown(exit_code)


def main(arguments: Sequence[str]) -> None:
    """Run the ``granian`` command line with our server: its options, defaults, help and environment variables."""
    module: Any = importlib.import_module("granian.cli")
    if load_settings().values.mode != "stock":
        if Server is not MPServer:
            message = "zdd serve granian needs worker processes: on a free-threaded Python granian has threads"
            raise LifecycleError(message)
        module.Server = ZddGranian
    module.cli.main(args=list(arguments), prog_name="zdd serve granian", auto_envvar_prefix="GRANIAN")
