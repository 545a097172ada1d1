"""uvicorn's ``--workers`` parent, which lets its workers drain."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import select
import signal
import socket
import sys
import threading
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.supervisors import multiprocess

from zdd_sdk.lifecycle.servers.listener import SocketFile
from zdd_sdk.lifecycle.servers.uvicorn_server import ALONE, INSTANCE, NOW, STARTUP_FAILURE, ZddServer

__all__ = ["Process", "ZddSupervisor"]

_WORKERS_HAVE_TARGET = "target" in inspect.signature(multiprocess.Multiprocess).parameters
# uvicorn's own: it is the one its users have configured and read.
_log = logging.getLogger("uvicorn.error")


class Process(multiprocess.Process):
    """A worker process that runs our server, and hears on uvicorn's health pipe why it shall end.

    Attributes:
        ending: whether the parent ends; in the parent.
    """

    ending: ClassVar[threading.Event | None] = None

    def __init__(self, config: Config, *rest: Any) -> None:
        super().__init__(config, *rest)
        self.config = config

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; called in the child. Defined here because older uvicorns run a server made in the parent."""
        self._ours = ZddServer(self.config)
        threading.Thread(target=self.always_pong, daemon=True).start()
        self._ours.run(sockets)
        if not self._ours.started:
            sys.exit(STARTUP_FAILURE)

    def pong(self) -> None:
        """Answer one ping, or take one message for the server."""
        message = self.child_conn.recv()
        if message == b"ping":
            self.child_conn.send(self._ours.started)
        else:
            self._ours.hear(message)

    def join(self) -> None:
        """Wait for its end; not any longer once the parent is told to end, so that a reload gives way to the drain."""
        while self.process.is_alive() and not (self.ending and self.ending.is_set()):
            self.process.join(0.1)

    def terminate(self, message: bytes = ALONE) -> None:
        """Send SIGTERM, saying why; the pipe stays open, as there may be more to say."""
        self.tell(signal.SIGTERM, message)
        _log.info("Terminated child process [%s]", self.process.pid)

    def tell(self, number: int, message: bytes) -> None:
        """Send a signal and say what it means."""
        if self.process.pid is not None and self.process.exitcode is None:
            with contextlib.suppress(OSError):
                self.parent_conn.send(message)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class _Ending(threading.Event):
    """Set as soon as a signal to end has come, and not only when its turn is: whoever reloads must hear of it.

    Args:
        queue: signals that wait.
    """

    def __init__(self, queue: list[int]) -> None:
        super().__init__()
        self._queue = queue

    def is_set(self) -> bool:
        """Whether the parent ends."""
        return super().is_set() or signal.SIGTERM in self._queue or signal.SIGINT in self._queue


class ZddSupervisor(multiprocess.Multiprocess):
    """uvicorn's ``--workers`` parent, which on SIGTERM first closes its own sockets, then tells its workers.

    While a parent keeps the listener, connections that come after the workers have closed theirs are
    queued for nobody and reset at its exit; closed, they are refused, which every proxy may retry.
    SIGHUP replaces the workers one by one; none of them waits for routers, as the instance stays.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        parent: Any = super()
        parent.__init__(*([config, None] if _WORKERS_HAVE_TARGET else [config]), sockets)
        self.should_exit = Process.ending = _Ending(self.signal_queue)
        self._socket_file = SocketFile(config.uds)
        self._wake, self._wake_by_signal = socket.socketpair()
        self._wake_by_signal.setblocking(False)
        # Not an Event set in the handler: the handler may run while this thread holds the Event's lock.
        signal.set_wakeup_fd(self._wake_by_signal.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Supervise until a signal ends it, noticing signals at once."""
        _log.info("Started parent process [%d]", os.getpid())
        self.init_processes()
        while not self.should_exit.is_set():
            self._wait(0.5)
            self.handle_signals()
            if self.failed:
                self.should_exit.set()
            if not self.should_exit.is_set():
                self.keep_subprocess_alive()
        self.handle_signals()
        self._end()
        _log.info("Stopping parent process [%d]", os.getpid())

    @property
    def failed(self) -> bool:
        """Whether a worker could not start: it would fail the same way on every restart."""
        return any(process.process.exitcode == STARTUP_FAILURE for process in self.processes)

    def _wait(self, seconds: float) -> None:
        if not self.signal_queue and select.select([self._wake], [], [], seconds)[0]:
            self._wake.recv(64)

    def _end(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.terminate_all()
        while alive := [process for process in self.processes if process.process.is_alive()]:
            self._wait(0.1)
            self._pass_on(alive)
        self._socket_file.remove()  # not before: workers serve on there, and remove it themselves, unless killed

    def terminate_all(self) -> None:
        """Send every worker SIGTERM and say that the instance leaves."""
        for process in self.processes:
            if isinstance(process, Process):
                process.terminate(INSTANCE)

    def _pass_on(self, alive: list[multiprocess.Process]) -> None:
        """Second and further signals are for the workers, too."""
        while self.signal_queue:
            number = self.signal_queue.pop(0)
            for process in alive:
                if isinstance(process, Process):
                    process.tell(number, NOW)
