"""The directory an instance's workers share, ``<run_dir>/<instance>/``, and the drain flag in it.

Layout: one file ``worker-<pid>`` per live process (its content: the process's start time), and ``drain``
once the instance shall drain, and ``quiet-<pid>`` while a draining process has no request in flight and its
lag has passed. ``parent-<pid>`` is the process that starts workers, if there is one: while it lives, the instance does.
A directory whose processes are all dead is stale and swept.
The flag is a file, not a key in Redis: an instance must be drainable while Redis is away.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from zdd_sdk.errors import LifecycleError
from zdd_sdk.settings import LifecycleSettings, Loaded

__all__ = ["InstanceDirectory", "find_instances", "instance_root", "search_roots", "user_root"]

_FLAG = "drain"
_WORKER = "worker-"
_NEW = ".new-"
_QUIET = "quiet-"
_PARENT = "parent-"
_TRIES = 10
"""A last worker that leaves may remove the directory between our mkdir and our first file in it."""

_JOINING = 5.0
"""Seconds an empty directory is left alone: a worker makes it before its record."""


def user_root() -> Path:
    """Return where the services of this user keep their directories by default: ``<tmp>/zdd-<uid>``."""
    return Path(tempfile.gettempdir()) / f"zdd-{os.geteuid()}"


def instance_root(settings: LifecycleSettings, service: str, environment: str) -> Path:
    """Return the run directory of a service: ``lifecycle.run_dir``, or one below `user_root`."""
    if settings.run_dir:
        return Path(settings.run_dir)
    return user_root() / f"{service}-{environment}"


def search_roots(loaded: Loaded) -> list[Path]:
    """Return where instances may be: the configured service's, or all of this user's where only code names it."""
    values = loaded.values
    if values.lifecycle.run_dir or loaded.origins["service"] != "default":
        return [instance_root(values.lifecycle, values.service, values.environment)]
    root = user_root()
    return sorted(root.iterdir()) if root.is_dir() and not root.is_symlink() else []


class InstanceDirectory:
    """One instance's directory.

    Args:
        root: the run directory (see `instance_root`).
        instance: name of the instance; characters a file name should not have are replaced by ``_``.
    """

    def __init__(self, root: Path, instance: str) -> None:
        self.instance = instance
        self.path = root / (re.sub(r"[^A-Za-z0-9._-]", "_", instance).lstrip(".") or "_")
        self._quiet = 0

    def join(self, parent: int | None = None) -> None:
        """Enter as a live worker. The first one in removes the flag a former instance of this name left.

        Args:
            parent: the process that starts a worker anew when one has crashed; so long as it is the same,
                so is the instance, and its flag stays up.

        Raises:
            LifecycleError: a directory on the way is a symbolic link, foreign or open to others.
            OSError: it cannot be created.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                _make_private(self.path)
                if not self.workers() and parent not in self._live(_PARENT):
                    self.clear()
                if parent is not None:
                    _write(self.path / f"{_PARENT}{parent}", _started(parent))
                _write(self.path / f"{_WORKER}{os.getpid()}", _started(os.getpid()))
            except FileNotFoundError:
                if attempt == _TRIES:
                    raise
            else:
                return

    def note_quiet(self, quiet: bool) -> None:
        """Say for this worker whether nobody would miss it: no request in flight, and the lag has passed."""
        if quiet == (self._quiet == os.getpid()):
            return
        mark = self.path / f"{_QUIET}{os.getpid()}"
        with contextlib.suppress(OSError):
            mark.touch() if quiet else mark.unlink()
            self._quiet = os.getpid() if quiet else 0

    def quiet(self) -> bool:
        """Whether every live worker is."""
        return all((self.path / f"{_QUIET}{pid}").exists() for pid in self.workers())

    def leave(self) -> None:
        """Take this worker's file away, and the directory with the last one.

        Not while the flag is up and a parent lives: who it may start in this one's place has to drain, too.
        """
        self.note_quiet(False)
        with contextlib.suppress(OSError):
            (self.path / f"{_WORKER}{os.getpid()}").unlink()
            if self.reason() is None or not self._live(_PARENT):
                self._remove()

    def workers(self) -> tuple[int, ...]:
        """Return the process ids of the live workers, and forget the dead ones."""
        return self._live(_WORKER)

    def ask_to_drain(self, reason: str) -> None:
        """Raise the flag; every worker notices within 0.3 s."""
        _check_private(self.path)
        _write(self.path / _FLAG, reason)

    def reason(self) -> str | None:
        """Return why the flag is up, or ``None``; a symbolic link or a foreign file is no flag."""
        try:
            found = os.lstat(self.path / _FLAG)
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
            return None
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.path / _FLAG).read_text(encoding="utf-8").strip()[:200] or "drain flag"
        return "drain flag"

    def clear(self) -> None:
        """Lower the flag."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / _FLAG).unlink()

    def settled(self) -> bool:
        """Whether somebody is or was in there, so that an empty directory is no worker that joins just now."""
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            recorded = bool(self._recorded(_WORKER))
            return stat.S_ISDIR(found.st_mode) and (recorded or time.time() - found.st_mtime > _JOINING)
        return False

    def sweep(self) -> bool:
        """Remove the directory if all its processes are dead; return whether it is gone."""
        if not self._live(_PARENT):
            self._remove()
        return not self.path.exists()

    def _remove(self) -> None:
        """Remove the directory if all its workers are dead, or have left."""
        with contextlib.suppress(OSError):
            if not self.workers():
                self.clear()
                for left in (found for kind in (_NEW, _QUIET, _PARENT) for found in self.path.glob(f"{kind}*")):
                    left.unlink()
                self.path.rmdir()

    def _live(self, kind: str) -> tuple[int, ...]:
        return tuple(pid for pid in self._recorded(kind) if self._alive(kind, pid))

    def _recorded(self, kind: str) -> list[int]:
        with contextlib.suppress(OSError):
            names = (found.name.removeprefix(kind) for found in self.path.glob(f"{kind}*"))
            return sorted(int(name) for name in names if name.isdigit())
        return []

    def _alive(self, kind: str, pid: int) -> bool:
        record = self.path / f"{kind}{pid}"
        with contextlib.suppress(OSError):
            started = _started(pid)
            if started and started == record.read_text(encoding="utf-8").strip():
                return True
            record.unlink()
        return False


def find_instances(roots: list[Path]) -> Iterator[InstanceDirectory]:
    """Yield the instances with live workers below run directories, sweeping what dead ones left."""
    for root in roots:
        with contextlib.suppress(OSError, LifecycleError):
            _check_private(root)
            for path in sorted(root.iterdir()):
                found = InstanceDirectory(root, path.name)
                settled = found.settled()  # before the records of the dead are forgotten
                if found.workers():
                    yield found
                elif settled:
                    found.sweep()


def _started(pid: int) -> str:
    """Return what tells this process from a later one with the same id: its start time; empty if it is dead."""
    try:
        # Counted after the command's closing parenthesis, since the command may hold spaces: state is 0, start time 19.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() or not _answers(pid) else "unknown"
    return "" if fields[0] == "Z" else fields[19]


def _answers(pid: int) -> bool:
    """Whether a process of this id exists, where there is no ``/proc``."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make_private(path: Path) -> None:
    for directory in (*reversed(path.parents[:2]), path):
        if not directory.exists() or directory.is_symlink():
            directory.mkdir(mode=0o700, exist_ok=True)
    for directory in (path.parent.parent, path.parent, path):
        if directory != path.parent.parent or directory == user_root():
            _check_private(directory)


def _check_private(path: Path) -> None:
    """Refuse what another user could have prepared, as anybody may write below ``/tmp``."""
    found = os.lstat(path)
    problem = ""
    if not stat.S_ISDIR(found.st_mode):
        problem = "is not a directory but a file or a symbolic link"
    elif found.st_uid not in (os.geteuid(), 0):
        problem = f"belongs to user {found.st_uid}, not to {os.geteuid()}"
    elif found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        problem = f"can be written by others (mode {found.st_mode & 0o777:o})"
    if problem:
        message = f"{path} {problem}: refusing to use it for the drain flag; remove it or set lifecycle.run_dir"
        raise LifecycleError(message)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all: a sweep that reads half a record would take its worker for dead."""
    new = path.with_name(f"{_NEW}{os.getpid()}-{threading.get_ident()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    new.replace(path)
