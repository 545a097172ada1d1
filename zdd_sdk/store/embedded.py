"""``embedded://``: one engine per (user, service, environment), shared by every process, for development.

Processes find each other in a private directory below the temporary directory, through four files whose
*locks* carry the state, because the kernel drops a lock however its holder dies:

* ``….lock``     held exclusively while a process joins or the supervisor leaves: one at a time
* ``….clients``  held shared by every process that uses the engine, for as long as it lives
* ``….engine``   held exclusively by the supervisor; its content says which engine it runs, and where
* ``….secret``   the development secret; survives engine and processes

The supervisor is a process of its own: it runs the engine, starts it again on the same port if it dies, and
ends with it once nobody has held ``….clients`` for a second. The engine ends when its supervisor does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from zdd_sdk.errors import SettingsError, StoreUnavailable, ZddError
from zdd_sdk.store.engine import Engine, require_engine, start_engine

__all__ = ["development_secret", "shared_engine", "supervise"]

_log = logging.getLogger("zdd.store")

_LOOK = 0.2
"""Seconds between the supervisor's looks at its clients and its engine."""

_LINGER = 1.0
"""Seconds without any client before the engine goes, so that a quickly restarted server still finds its sessions."""

_JOIN = 30.0
"""Seconds to wait for another process that is joining; starting the slowest engine takes far less."""

_SUPERVISOR = (
    "import sys; sys.path.append(sys.argv[1]); from zdd_sdk.store.embedded import supervise; supervise(sys.argv[2])"
)

_joined: dict[Path, int] = {}
_guard = threading.Lock()


def shared_engine(service: str, environment: str) -> str:
    """Join the engine of this user, service and environment, starting it if nobody has; return its URL.

    The process stays a client until it ends. Calling again is cheap and starts a new engine, on the same
    port if possible, should the supervisor have been killed.

    Raises:
        MissingExtra: no engine can be found on this machine.
        SettingsError: the private directory is not private.
        StoreUnavailable: the engine did not start.
    """
    place = _place(service, environment)
    with _guard, _exclusive(_file(place, "lock")):
        if is_new := place not in _joined:
            _joined[place] = _open(_file(place, "clients"))
            fcntl.flock(_joined[place], fcntl.LOCK_SH)
        if not _is_supervised(place):
            _start_supervisor(place)
        elif is_new:
            _log.info("using the embedded engine of this service's other processes: %s", _read_facts(place)["url"])
        return str(_read_facts(place)["url"])


def development_secret(service: str, environment: str) -> str:
    """Return the secret used in development where ``ZDD_SECRET`` is unset: 64 hex digits, the same in every process.

    Raises:
        SettingsError: the private directory is not private.
    """
    place = _place(service, environment)
    path = _file(place, "secret")
    if not path.exists():
        fresh = _file(place, f"secret.{os.getpid()}.{secrets.token_hex(4)}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32))
        # A link is made or not: no process can read half a secret, and the first one wins.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
    with os.fdopen(_open(path)) as file:
        return file.read()


def supervise(place_name: str) -> None:
    """Run the engine until it has had no client for a second; the supervisor process's whole life.

    Reports to standard output in one line of JSON: ``{}`` or ``{"error": "…"}``.
    """
    place = Path(place_name)
    facts = _open(_file(place, "engine"))
    fcntl.flock(facts, fcntl.LOCK_EX)
    try:
        engine = _start_where_it_was(place)
    except ZddError as error:
        _report({"error": str(error)})
        return
    _write_facts(facts, engine)
    _report({})
    clients = _open(_file(place, "clients"))
    _watch(clients, facts, engine)
    while not _leaves(place, clients, facts, engine):
        _watch(clients, facts, engine)


def _watch(clients: int, facts: int, engine: Engine) -> None:
    """Return once nobody has used the engine for a second; start it again if it dies."""
    alone = 0.0
    while alone < _LINGER:
        time.sleep(_LOOK)
        alone = 0.0 if _is_held(clients, fcntl.LOCK_EX) else alone + _LOOK
        if not engine.alive:
            with contextlib.suppress(ZddError):
                engine.restart()
                _write_facts(facts, engine)


def _leaves(place: Path, clients: int, facts: int, engine: Engine) -> bool:
    with _exclusive(_file(place, "lock")):
        # Nobody can be joining now; whoever joined since the last look keeps the engine.
        if _is_held(clients, fcntl.LOCK_EX):
            return False
        engine.stop()
        os.close(facts)
        return True


def _start_where_it_was(place: Path) -> Engine:
    """Start on the port the last engine had, so that processes that still know it find the new one."""
    with contextlib.suppress(ZddError, KeyError, ValueError):
        return start_engine(port=int(_read_facts(place)["port"]))
    return start_engine()


def _start_supervisor(place: Path) -> None:
    require_engine()
    # The shell ends at once: the supervisor is nobody's child, so it is nobody's zombie or leaked subprocess.
    command = ["/bin/sh", "-c", '"$@" </dev/null 2>/dev/null &', "sh", sys.executable, "-P", "-c", _SUPERVISOR]
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [*command, root, str(place)], stdout=subprocess.PIPE, start_new_session=True, cwd="/"
    ) as shell:
        said = shell.communicate()[0]
    if (answer := json.loads(said or '{"error": "its supervisor ended without a word"}')).get("error"):
        message = f"no embedded engine: {answer['error']}"
        raise StoreUnavailable(message)
    facts = _read_facts(place)
    _log.warning(
        "no ZDD_REDIS_URL: using an embedded engine (%s %s, port %s); it keeps nothing once the last process has ended",
        facts["kind"],
        facts["version"],
        facts["port"],
    )


def _report(answer: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _place(service: str, environment: str) -> Path:
    """Where the files of one engine lie: a path without its ending, in a directory that is ours alone."""
    directory = Path(tempfile.gettempdir()) / f"zdd-{os.geteuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(0o700)
        found = directory.lstat()
    except OSError as error:
        message = f"the embedded engine needs the directory {directory}: {error.strerror}"
        raise SettingsError(message) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        message = f"{directory} is not a directory of this user alone (mode 0700): remove it or set TMPDIR"
        raise SettingsError(message)
    return directory / f"{quote(service, safe='')}@{quote(environment, safe='')}"


def _file(place: Path, ending: str) -> Path:
    return place.with_name(f"{place.name}.{ending}")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        message = f"the embedded engine cannot use {path}: {error.strerror}"
        raise SettingsError(message) from error


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    fd = _open(path)
    deadline = time.monotonic() + _JOIN
    try:
        while not _try_lock(fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                message = f"another process has held {path} for {_JOIN:.0f} s"
                raise StoreUnavailable(message)
            time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int, mode: int) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(fd: int, mode: int) -> bool:
    """Whether somebody holds a lock that excludes ``mode`` (LOCK_EX: anybody; LOCK_SH: an exclusive holder)."""
    if free := _try_lock(fd, mode):
        fcntl.flock(fd, fcntl.LOCK_UN)
    return not free


def _is_supervised(place: Path) -> bool:
    fd = _open(_file(place, "engine"))
    try:
        return _is_held(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _read_facts(place: Path) -> dict[str, str | int]:
    facts: dict[str, str | int] = json.loads(_file(place, "engine").read_bytes() or b"{}")
    return facts


def _write_facts(fd: int, engine: Engine) -> None:
    facts = {name: getattr(engine, name) for name in ("url", "port", "pid", "kind", "version")}
    facts["supervisor"] = os.getpid()
    os.truncate(fd, 0)
    os.pwrite(fd, json.dumps(facts).encode(), 0)


def _renew_guard() -> None:
    global _guard  # noqa: PLW0603 - a lock held by another thread at the fork would never be released
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_renew_guard)
