"""gunicorn's arbiter, made to let its workers drain: what it tells them, and how long it waits for them."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import gunicorn
from gunicorn import sock as gunicorn_sockets

from zdd_sdk.errors import LifecycleError
from zdd_sdk.lifecycle.servers.gunicorn.worker import DrainingWorker
from zdd_sdk.lifecycle.servers.own import own_lifecycle
from zdd_sdk.lifecycle.servers.signals import at_terminal
from zdd_sdk.lifecycle.servers.sockets import SocketFile
from zdd_sdk.lifecycle.servers.told import Leaving

_GunicornArbiter: Any = object
"""Stands for gunicorn's own class, which follows in the bases; it has no types."""

__all__ = ["adapt"]

OLDEST = 23
"""The oldest major version of gunicorn whose workers have been tested with this."""

WHY_NOT = {
    "gevent_pywsgi": "gevent's own WSGI server writes the answers: they cannot say `Connection: close` in time",
    "tornado": "tornado's loop takes over the listener, and drops what is queued",
    "eventlet": "eventlet is no longer maintained",
}


def adapt(arbiter: Any) -> None:
    """Make an arbiter and its workers drain; for gunicorn's ``on_starting``.

    Raises:
        LifecycleError: a worker class, or a version of gunicorn, that cannot.
    """
    if isinstance(arbiter, DrainingArbiter):
        return
    if int(gunicorn.__version__.partition(".")[0]) < OLDEST:
        message = f"gunicorn {gunicorn.__version__} is too old for the drain: pip install 'gunicorn>={OLDEST}'"
        raise LifecycleError(message)
    # Workers share the instance's directory, and so the flag of `zdd drain`.
    os.environ.setdefault("ZDD_INSTANCE", own_lifecycle().instance)
    # gunicorn's command has no seam for the class of its arbiter.
    arbiter.__class__ = type("DrainingArbiter", (DrainingArbiter, type(arbiter)), {})
    arbiter.worker_class = draining(arbiter.worker_class)


def draining(worker_class: type[Any]) -> type[Any]:
    """Return the class of workers that drain."""
    if issubclass(worker_class, DrainingWorker):
        return worker_class
    return type(worker_class.__name__, (_mixin(worker_class), worker_class), {"__module__": worker_class.__module__})


def _mixin(worker_class: type[Any]) -> type[DrainingWorker]:
    """Return what goes before a worker class; the names are looked up, as importing some of them takes a while."""
    for found in worker_class.__mro__:
        where = f"{found.__module__}.{found.__name__}"
        if where == "gunicorn.workers.sync.SyncWorker":
            from zdd_sdk.lifecycle.servers.gunicorn.sync import DrainingSync

            return DrainingSync
        if where == "gunicorn.workers.gthread.ThreadWorker":
            from zdd_sdk.lifecycle.servers.gunicorn.gthread import DrainingThreads

            return DrainingThreads
        if where == "gunicorn.workers.gasgi.ASGIWorker":
            from zdd_sdk.lifecycle.servers.gunicorn.asgi import DrainingAsgi

            return DrainingAsgi
        if found.__name__ == "UvicornWorker":
            from zdd_sdk.lifecycle.servers.gunicorn.uvicorn import DrainingUvicorn

            return DrainingUvicorn
        if where == "gunicorn.workers.ggevent.GeventWorker" and worker_class.server_class is None:
            from zdd_sdk.lifecycle.servers.gunicorn.gevent import DrainingGreenlets

            return DrainingGreenlets
    raise LifecycleError(_refusal(worker_class))


def _refusal(worker_class: type[Any]) -> str:
    names = " ".join(found.__name__.lower() for found in worker_class.__mro__)
    reasons = [why for name, why in WHY_NOT.items() if name.replace("_", "") in names]
    why = reasons[0] if reasons else "nobody has taught it to drain"
    return (
        f"gunicorn's worker class {worker_class.__name__} would lose requests at every stop: {why}; "
        f"use sync, gthread, asgi, gevent or uvicorn_worker.UvicornWorker, or ZDD_MODE=stock for gunicorn as it is"
    )


class DrainingArbiter(_GunicornArbiter):  # type: ignore[misc]
    """Mixed in before gunicorn's arbiter."""

    stopping = False
    _dirty_waits = False
    worker_class: Any
    LISTENERS: Any
    WORKERS: Any

    def setup(self, app: Any) -> None:
        """Take the configuration, at SIGHUP anew; its worker class drains."""
        super().setup(app)
        self.worker_class = draining(self.worker_class)

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal; one more while stopping means now."""
        if self.stopping and sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._tell(Leaving.NOW)
        super().signal(sig, frame)

    def stop(self, graceful: bool = True) -> None:
        """Close our sockets, then let the workers drain and wait for the slowest; or end them, if not graceful."""
        files = self._close_sockets()
        if graceful:
            self._tell(self._how())
            self.cfg.set("graceful_timeout", self._longest())
            self.stopping = True
        super().stop(graceful)
        for file in files:
            file.remove()

    def _close_sockets(self) -> list[SocketFile]:
        """Close the sockets, but leave the files of UNIX sockets: workers serve on there, and remove them then."""
        # As gunicorn itself decides whether to remove the files.
        shared = self.reexec_pid or self.master_pid or self.systemd or self.cfg.reuse_port
        unix = [found for found in self.LISTENERS if found.family == socket.AF_UNIX]
        names = [] if shared else [found.getsockname() for found in unix]
        files = [SocketFile(name) for name in names if isinstance(name, str) and not name.startswith("\0")]
        gunicorn_sockets.close_sockets(self.LISTENERS, unlink=False)
        self.LISTENERS = []
        return files

    def _how(self) -> Leaving:
        if at_terminal():
            self.log.info("SIGTERM at a terminal: leaving now, without a drain")
            return Leaving.NOW
        if self.reexec_pid:
            # The arbiter that SIGUSR2 has started goes on with the same sockets.
            return Leaving.ALONE
        inherited = any(isinstance(address, int) for address in self.cfg.address)
        return Leaving.UNTOLD if self.systemd or self.master_pid or inherited else Leaving.INSTANCE

    def _tell(self, how: Leaving) -> None:
        for worker in list(self.WORKERS.values()):
            worker.told.leaving = how

    def _longest(self) -> int:
        """Seconds to wait for the slowest worker; ``graceful_timeout`` if that is longer."""
        seconds: list[float] = [worker.told.seconds for worker in self.WORKERS.values()]
        return math.ceil(max([*seconds, float(self.cfg.graceful_timeout)]))

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a worker; while the instance stays, tell it that it leaves alone."""
        worker = self.WORKERS.get(pid)
        if worker is not None and sig == signal.SIGTERM and not self.stopping:
            worker.told.leaving = Leaving.ALONE
        super().kill_worker(pid, sig)

    def kill_dirty_arbiter(self, sig: int) -> None:
        """Signal the arbiter of dirty workers; at the drain it goes when nobody can need them any more."""
        if self.stopping and sig == signal.SIGTERM and self.WORKERS:
            self._dirty_waits = True
        else:
            super().kill_dirty_arbiter(sig)

    def reap_workers(self) -> None:
        """Take note of workers that have ended."""
        super().reap_workers()
        if self.stopping and not self.WORKERS and self._dirty_waits:
            self._dirty_waits = False
            self.kill_dirty_arbiter(signal.SIGTERM)

    def spawn_worker(self) -> Any:
        """Start a worker; in the child this never returns."""
        pid = os.getpid()
        try:
            return super().spawn_worker()
        except SystemExit as end:
            if os.getpid() != pid and DrainingWorker.cut:
                # Python's own exit waits for threads, whose time is over.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(int(end.code or 0))
            raise
