"""HAProxy's agent-check: a TCP port that says ``up ready``, ``drain`` or ``down``.

HAProxy (``agent-check agent-port 9000``) then drains an instance as soon as the drain begins, without waiting for
failed health checks. The states are administrative and outlast the process, so ``ready`` takes the drain back
when the next one is up.
Source: HAProxy configuration manual, 5.2, "agent-check".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zdd_sdk.lifecycle.model import CheckState, State, readiness

if TYPE_CHECKING:
    from zdd_sdk.lifecycle.core import Lifecycle

__all__ = ["Agent", "agent_answer", "start_agent"]

_RETRY = 0.5
"""Seconds between two tries: to take the port over from a worker that is gone, or to accept after a failure."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_PATIENCE = 0.5
"""Seconds for one HAProxy to take its answer."""

_log = logging.getLogger("zdd.lifecycle")


def agent_answer(state: State, checks: Mapping[str, CheckState]) -> bytes:
    """Return what to say: ``drain`` wins over any check, as the checks' verdict is no reason to come back."""
    if state in {State.DRAINING, State.STOPPING}:
        return b"drain\n"
    return b"up ready\n" if readiness(state, checks, serve=False) else b"down\n"


def start_agent(lifecycle: Lifecycle, quit_event: threading.Event) -> None:
    """Start a lifecycle's agent, if it has a port."""
    port = lifecycle.settings.agent_port
    if port is not None:
        path = lifecycle.directory.path
        Agent(port, path, lambda: agent_answer(lifecycle.state, lifecycle.checks.states), quit_event).start()


class Agent:
    """Answers on a port, in a thread of its own; one process of an instance does, and another takes over when it dies.

    Args:
        port: on all interfaces, as HAProxy is elsewhere.
        directory: the instance's run directory: whoever locks it may bind.
        say: returns the answer.
        quit_event: ends the thread.
    """

    def __init__(self, port: int, directory: Path, say: Callable[[], bytes], quit_event: threading.Event) -> None:
        self._port = port
        self._directory = directory
        self._say = say
        self._quit = quit_event
        self._warned = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="zdd-agent", daemon=True).start()

    def _run(self) -> None:
        while not self._quit.is_set():
            with _locked(self._directory) as chosen:
                if chosen:
                    self._serve()
            self._quit.wait(_RETRY)

    def _serve(self) -> None:
        try:
            listener = _listen(self._port)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.error("no HAProxy agent at port %d, trying on (lifecycle.agent_port): %s", self._port, error)
            return
        with listener:
            listener.settimeout(_RETRY)
            while not self._quit.is_set():
                self._answer_next(listener)

    def _answer_next(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (TimeoutError, ConnectionAbortedError):
            return
        except OSError:
            # Out of descriptors or memory: who connects stays queued, and accept would fail again at once.
            self._quit.wait(_RETRY)
            return
        with contextlib.suppress(OSError):
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(_PATIENCE)
            connection.sendall(self._say())
            connection.shutdown(socket.SHUT_WR)
            # What an `agent-send` left unread would turn our close into a reset, and the answer with it.
            connection.recv(1024)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Say whether this process holds the lock of its instance; where there is no directory, every process does."""
    try:
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        yield error.errno not in _EXHAUSTED
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        chosen = True
    except OSError:
        chosen = False
    try:
        yield chosen
    finally:
        os.close(lock)


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
