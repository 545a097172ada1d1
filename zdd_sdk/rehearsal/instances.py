"""Instances: real server processes, started, watched and stopped as a platform does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from zdd_sdk.errors import MissingExtra, RehearsalError
from zdd_sdk.rehearsal.client import Broken, fetch
from zdd_sdk.rehearsal.model import InstanceRecord, Plan, Side, Usage
from zdd_sdk.rehearsal.plan import ReleasePlan
from zdd_sdk.rehearsal.processes import fill_in, free_port, kill_group, resolve_program, spawn, tail
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.rehearsal.routers.base import Backend

__all__ = ["Instance", "Instances", "instance_environment"]

_FEATURE = "zdd rehearse"
_POLL = 0.05
_MEASURE = 1.0


class Instance:
    """One server process.

    Attributes:
        record: what is known of it; replaced, never changed.
        stopping: whether it was told to stop.
    """

    def __init__(self, record: InstanceRecord, process: subprocess.Popen[bytes]) -> None:
        self.record = record
        self.process = process
        self.stopping = False
        self.family: list[Any] = []

    @property
    def id(self) -> str:
        """Its unique name."""
        return self.record.id

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.record.exited is None

    def backend(self, weight: float = 1.0) -> Backend:
        """What a router needs to know."""
        return Backend(self.id, self.record.release, "127.0.0.1", self.record.port, weight)


class Instances:
    """Starts, watches, stops and counts the server processes of one rehearsal.

    Args:
        plan: what is rehearsed.
        recorder: where lives and figures go.
        directory: output of instance ``x`` goes to its ``logs/x.log``, whose old content is dropped.
        data: what ``{dir}`` in a command or a variable stands for.
        common: environment of every instance, over the caller's own; its ``ZDD_REDIS_URL`` is what ``{redis}`` is.
        taken: ports in use.
    """

    def __init__(
        self, plan: Plan, recorder: Recorder, *, directory: Path, data: Path, common: Mapping[str, str], taken: set[int]
    ) -> None:
        self._plan, self._recorder, self._directory, self._data = plan, recorder, directory, data
        self._common, self._taken = common, taken
        self._all: list[Instance] = []
        self._prepared: set[Side] = set()
        self._cpu: dict[int, float] = {}
        self._turn = 0
        (directory / "logs").mkdir(parents=True, exist_ok=True)

    async def prepare(self, side: Side) -> None:
        """Run what a release wants to have run before its first instance starts; once, to its end.

        Raises:
            RehearsalError: it failed, or took longer than an instance may to be ready; with its last output.
        """
        release = self._release(side)
        if not release.before or side in self._prepared:
            return
        self._prepared.add(side)
        log = self._directory / "logs" / f"before-{side}.log"
        process = self._launch(release, release.before, f"before-{side}", 0, log)
        try:
            await asyncio.to_thread(process.wait, self._plan.ready_timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
        except BaseException:
            kill_group(process)
            raise
        if process.returncode:
            what = "was killed after" if process.returncode < 0 else f"exited with {process.returncode}, within"
            message = f"{release.before!r} {what} {self._plan.ready_timeout:g} s; its last output:\n{tail(log)}"
            raise RehearsalError(message)

    async def start(self, side: Side, *, port: int | None = None) -> Instance:
        """Start one instance of a release and wait until it may take traffic.

        Args:
            side: which release.
            port: where it shall listen; default a free one.

        Raises:
            RehearsalError: it exited, or was not ready in time; with its last output.
        """
        instance = self._spawn(side, free_port(self._taken) if port is None else port)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.ready_timeout):
                await self._until_ready(instance)
        if instance.record.ready is None:
            raise RehearsalError(self._why(instance))
        return instance

    def terminate(self, instance: Instance) -> None:
        """Send SIGTERM, as the platform does: to the instance's first process only."""
        if instance.alive and not instance.stopping:
            instance.stopping = True
            self._update(instance, drain=self._recorder.now())
            instance.process.send_signal(signal.SIGTERM)

    def kill(self, instance: Instance) -> None:
        """SIGKILL it and everything it started."""
        if instance.record.drain is None:
            self._recorder.killed.add(instance.id)
        instance.stopping = True
        self._update(instance, killed=True)
        kill_group(instance.process)

    async def gone(self, instance: Instance) -> None:
        """Wait until a terminated instance has exited; after the grace period it is killed."""
        begin = self._recorder.now() if instance.record.drain is None else instance.record.drain
        while instance.alive:
            if self._recorder.now() - begin > self._plan.grace:
                self._recorder.note(f"{instance.id} was killed after {self._plan.grace:g} s of grace", keep=True)
                self.kill(instance)
            await asyncio.sleep(_POLL)

    async def watch(self) -> None:
        """Notice exits and measure memory and CPU until cancelled."""
        measured = -_MEASURE
        while True:
            for instance in self._all:
                self._look(instance)
            if (now := self._recorder.now()) - measured >= _MEASURE:
                measured = now
                self._measure()
            await asyncio.sleep(_POLL)

    def alive(self, side: Side | None = None) -> list[Instance]:
        """Those whose process runs, of one release or of both."""
        return [one for one in self._all if one.alive and side in (None, one.record.release)]

    def end(self) -> None:
        """Kill whatever is left, at once."""
        for instance in self._all:
            kill_group(instance.process)

    def _spawn(self, side: Side, port: int) -> Instance:
        release = self._release(side)
        number = sum(one.record.release == side for one in self._all) + 1
        name = f"{side}-{number}"
        log = self._directory / "logs" / f"{name}.log"
        process = self._launch(release, release.command, name, port, log)
        record = InstanceRecord(
            id=name, release=side, port=port, pid=process.pid, started=self._recorder.now(), log=str(log)
        )
        instance = Instance(record, process)
        self._all.append(instance)
        self._recorder.instance(record)
        return instance

    def _release(self, side: Side) -> ReleasePlan:
        return self._plan.old if side == "old" else self._plan.new

    def _launch(self, release: ReleasePlan, command: str, name: str, port: int, log: Path) -> subprocess.Popen[bytes]:
        values = {"port": port, "host": "127.0.0.1", "instance": name, "dir": self._data}
        values["redis"] = self._common["ZDD_REDIS_URL"]
        log.unlink(missing_ok=True)
        words = [fill_in(word, values) for word in resolve_program(command, cwd=release.cwd)]
        env = instance_environment(self._plan, release, name, self._common, values)
        return spawn(words, log=log, env=env, cwd=release.cwd)

    async def _until_ready(self, instance: Instance) -> None:
        while instance.process.poll() is None:
            try:
                answer = await fetch("127.0.0.1", instance.record.port, self._plan.ready_path)
            except Broken:
                await asyncio.sleep(_POLL)
                continue
            if answer.status < 500:  # noqa: PLR2004 — 404 too: a server without a ready path answers, so it serves
                self._update(instance, ready=self._recorder.now())
                return
            await asyncio.sleep(_POLL)

    def _why(self, instance: Instance) -> str:
        code = instance.process.poll()
        what = f"exited with {code}" if code is not None else f"was not ready after {self._plan.ready_timeout:g} s"
        return f"{instance.id} {what} (log: {instance.record.log}); its last output:\n{tail(Path(instance.record.log))}"

    def _look(self, instance: Instance) -> None:
        code = instance.process.poll()
        if code is None or not instance.alive:
            return
        self._update(instance, exited=self._recorder.now(), code=code)
        if not instance.stopping and instance.record.ready is not None:
            self._recorder.note(f"{instance.id} exited by itself with {code}", keep=True)

    def _measure(self) -> None:
        living = self.alive()
        if living:
            # Looking for children reads all of /proc, some milliseconds in which no user is served: one at a time.
            self._turn = (self._turn + 1) % len(living)
            living[self._turn].family.clear()
        found = [(one, *_usage(one)) for one in living]
        for instance, rss, _ in found:
            if rss > instance.record.peak_rss:
                self._update(instance, quiet=True, peak_rss=rss)
        busy = {one.record.pid: seconds for one, _, seconds in found}
        cpu = sum(max(0.0, seconds - self._cpu.get(pid, seconds)) for pid, seconds in busy.items())
        self._cpu = busy
        self._recorder.usage.append(
            Usage(self._recorder.now(), len(found), sum(rss for _, rss, _ in found), round(cpu / _MEASURE, 3))
        )

    def _update(self, instance: Instance, *, quiet: bool = False, **changes: Any) -> None:
        instance.record = msgspec.structs.replace(self._recorder.instances[instance.id], **changes)
        self._recorder.instance(instance.record, quiet=quiet)


def instance_environment(
    plan: Plan, release: ReleasePlan, name: str, common: Mapping[str, str], values: Mapping[str, object]
) -> dict[str, str]:
    """The environment of one instance: the caller's, then the rehearsal's, then the release's own."""
    short = {
        "ZDD_LIFECYCLE_DRAIN_LAG": f"{plan.router_lag + 2:g}s",
        "ZDD_LIFECYCLE_LINGER": "1s",
        "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "5s",
        "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "2s",
        "ZDD_LIFECYCLE_GRACE_PERIOD": f"{plan.grace:g}s",
    }
    env = {**short, **os.environ, "PYTHONUNBUFFERED": "1", **common, "ZDD_INSTANCE": name}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", os.defpath)))
    env["ZDD_RELEASE_VERSION"] = release.label
    if not plan.sdk:
        env["ZDD_MODE"] = "stock"
    return {**env, **{key: fill_in(text, values) for key, text in release.env.items()}}


def _usage(instance: Instance) -> tuple[int, float]:
    """Bytes resident and CPU seconds of an instance and its children; zeros if it is just ending."""
    psutil = _psutil()
    try:
        if not instance.family:
            leader = psutil.Process(instance.record.pid)
            instance.family = [leader, *leader.children(recursive=True)]
        times = [process.cpu_times() for process in instance.family]
        return sum(process.memory_info().rss for process in instance.family), sum(t.user + t.system for t in times)
    except psutil.Error:
        instance.family.clear()
        return 0, 0.0


def _psutil() -> Any:
    try:
        import psutil  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise MissingExtra(_FEATURE, "rehearsal") from None
    return psutil
