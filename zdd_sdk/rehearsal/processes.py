"""Child processes that never outlive us, and ports nobody else takes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zdd_sdk.errors import RehearsalError

__all__ = ["fill_in", "free_port", "kill_group", "resolve_program", "spawn", "tail"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PORTS = range(20000, 32000)
"""Below Linux's ephemeral range (32768 up): a port from there could be taken by any outgoing connection of the
traffic between our looking and the server's binding."""


def spawn(words: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: str | Path) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, its output in ``log``; it gets SIGTERM when we die.

    Raises:
        RehearsalError: it cannot be started.
    """
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent if _LIBC else None,  # noqa: PLW1509 — calls prctl and nothing else
            )
    except OSError as error:
        message = f"{words[0]!r} cannot be started: {error.strerror}"
        raise RehearsalError(message) from error


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process and everything it started; harmless if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)


def free_port(taken: set[int]) -> int:
    """A port of the loopback interface that is free now and not in ``taken``, which it joins.

    Raises:
        RehearsalError: a hundred attempts found none.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in taken:
                    taken.add(port)
                    return port
    message = "no free port between 20000 and 32000"
    raise RehearsalError(message)


def fill_in(text: str, values: Mapping[str, object]) -> str:
    """Replace ``{name}`` for the given names only, so that other braces may stand in a command."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def resolve_program(command: str, *, cwd: str | Path) -> list[str]:
    """Split a command as a shell does; a relative program that only the caller's directory has is made absolute.

    A git worktree has no ``.venv``, yet people write ``.venv/bin/uvicorn``.

    Raises:
        RehearsalError: the command is empty or its quotes do not match.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        message = f"the command {command!r} cannot be read: {error}"
        raise RehearsalError(message) from error
    if not words:
        message = "the command of a release is empty"
        raise RehearsalError(message)
    if "/" in words[0] and not Path(cwd, words[0]).exists() and Path(words[0]).exists():
        words[0] = str(Path(words[0]).absolute())
    return words


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
    return ""


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
