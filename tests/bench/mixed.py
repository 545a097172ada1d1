"""The mixed-version soak: users of two releases at once, on three frameworks, while Redis is paused for ten seconds.

    make mixed
    make mixed ARGS="--users 200 --seconds 30"

Release 0 is a checkout of the commit before devices, merges and rotations, in processes of its own; 1 and 2 are this
tree, with other attributes each. FastAPI runs 0 beside 1 and 2, then only 1 and 2 (the deployment is done: ids are
rotated periodically), then 0 again (a rollback). Django and Flask run 1 beside 2. Each user does what users do, two and
more requests at a time, and after each looks at the whole session on whichever release. The control, one blob per
session, goes through the same without a pause and must lose. Exits 1 if anything was lost, or the control lost nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.bench.mixed_users import Tally, Told, User, World
from zdd_sdk.store.engine import Engine, start_engine

_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.3 and older know no filter."""

ROOT = Path(__file__).parents[2]
BEFORE = "77b8546"
"""The release before: layout 1 of sessions, without index, merges or rotations."""

ACTIONS = ("log_in", "log_out", "write", "write_at_once", "add_at_once", "change", "end_others")
FAULTS = ("lost", "resurrected", "logged out", "fixation", "unexpected answer")
GROUPS = {"fastapi": 0.4, "django": 0.3, "flask": 0.3}
HOUR_AGO = """
for _, key in ipairs(redis.call('KEYS', 'zdd:shop:test:session:*:s:*')) do
  local meta = redis.call('HMGET', key, '_u', '_k', '_r', '_c')
  local since = string.format('%.0f', (meta[3] or meta[4]) - 3600000)
  if meta[1] and not meta[2] then redis.call('HSET', key, '_r', since) end
end
"""
"""Makes the ids of all who are logged in an hour older."""


@dataclass
class Worker:
    """One process that serves one release of one framework."""

    release: str
    merges: bool
    process: asyncio.subprocess.Process
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)
    _reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, stack: str, release: str, options: dict[str, Any], tree: Path = ROOT) -> Worker:
        """Start it; ``tree`` is where its SDK lies."""
        path = os.pathsep.join(map(str, (tree, tree / "integrations", ROOT)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "tests.bench.mixed_worker", json.dumps({"stack": stack, "options": options}),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**22, cwd=tempfile.gettempdir(),
            env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        worker = cls(release, tree == ROOT, process)
        worker._reading = asyncio.create_task(worker._read())
        await worker.ask("GET", "plain", {}, "")
        return worker

    async def ask(self, method: str, path: str, query: dict[str, str], cookie: str) -> Told:
        found = await self._send({"method": method, "path": path, "query": query, "cookie": cookie})
        return Told(found["status"], found["cookies"], found["body"], found["announced"])

    async def counters(self) -> dict[str, int]:
        """What its sessions have counted."""
        found: dict[str, int] = (await self._send({"method": "STATS"}))["counters"]
        return found

    async def rotates(self) -> bool:
        """Whether it believes that all that live follow periodic rotations."""
        found: bool = (await self._send({"method": "STATS"}))["rotates"]
        return found

    async def recover(self) -> None:
        """Wait until it has seen that Redis is there again."""
        while (await self.ask("POST", "keep", {"name": "a", "value": "1"}, "")).status != 200:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.1)

    async def drain(self) -> None:
        """Stop once nobody has asked for two seconds: users may still hold the list it was on."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 2:
            await asyncio.sleep(0.05)
            quiet_since = time.monotonic() if self._waiting else quiet_since
        await self.stop()

    async def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()

    async def _send(self, order: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**order, "id": number}).encode() + b"\n")
        return await asyncio.wait_for(self._waiting[number], 120)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            found = json.loads(line)
            self._waiting.pop(found["id"]).set_result(found)
        for waiting in self._waiting.values():
            waiting.set_exception(RuntimeError(f"the worker of release {self.release} has ended"))


def checkout(commit: str, into: Path) -> Path | None:
    """Unpack the SDK of a commit; ``None`` where this tree has no history that reaches it."""
    words = ["git", "-C", str(ROOT), "archive", commit, "zdd_sdk", "integrations"]
    try:
        packed = subprocess.run(words, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(into, **_SAFELY)
    return into


@dataclass
class Plan:
    """How long, and with whom."""

    users: int = 1000
    seconds: float = 90.0
    pause: float = 10.0
    at_once: int = 48
    ttl: float = 5.0
    """Of a pulse: how long the fleet remembers a worker that has gone."""

    patience: float = 2.0
    """With Redis; a machine at work is no outage."""
    seed: int = 1


@dataclass
class Report:
    """What one soak has found."""

    name: str
    tally: Tally
    users: int
    releases: int
    seconds: float
    rotations: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        return sum(self.tally.counts[kind] for kind in FAULTS)


class Soak:
    """The soak of all frameworks on one engine."""

    def __init__(self, plan: Plan, engine: Engine, before: Path | None) -> None:
        self.plan, self.engine, self.before = plan, engine, before
        self.serving: dict[str, list[Worker]] = {}
        self.world = World(
            lambda group: self.serving[group], Tally(), asyncio.Semaphore(plan.at_once), random.Random(plan.seed)
        )
        self.rotations: dict[str, int] = {}
        self._over = False

    def options(self, release: str) -> dict[str, Any]:
        """Options of a release; patient, because the machine is busy, and so is the pulse."""
        patience = self.plan.patience
        return {
            "service": "shop", "environment": "test", "redis_url": self.engine.url, "secret": ["s" * 40],
            "release": {"version": release},
            "store": {"connect_timeout": patience, "operation_timeout": patience, "total_timeout": 2 * patience},
            "fleet": {"role": "web", "pulse": self.plan.ttl / 10, "ttl": self.plan.ttl},
            **({} if release == "0" else {"sessions": {"rotate_every": 3000.0}}),
        }  # fmt: skip

    async def run(self) -> Report:
        """Play all phases."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            await self._start(stack)
            users = [User(f"u{number}", group, self.world) for number, group in enumerate(self._groups())]
            acting = [asyncio.create_task(self._live(user)) for user in users]
            await self._phases(stack)
            self._over = True
            await asyncio.gather(*acting)
            counted = [await worker.counters() for workers in self.serving.values() for worker in workers]
        names = sorted({name for counters in counted for name in counters})
        counters = {name: sum(one.get(name, 0) for one in counted) for name in names}
        releases = 3 if self.before else 2
        return Report(
            "zdd", self.world.tally, self.plan.users, releases, time.monotonic() - began, self.rotations, counters
        )

    async def _start(self, stack: AsyncExitStack) -> None:
        kinds = {"fastapi": ("fastapi",) * 2, "django": ("django", "django-asgi"), "flask": ("flask",) * 2}
        for group, stacks in kinds.items():
            self.serving[group] = list(await asyncio.gather(*map(partial(self._worker, stack), stacks, "12")))
        await self._roll_back(stack)
        self.rotations.clear()

    async def _worker(self, stack: AsyncExitStack, kind: str, release: str, tree: Path = ROOT) -> Worker:
        worker = await Worker.start(kind, release, self.options(release), tree)
        stack.push_async_callback(worker.stop)
        return worker

    async def _roll_back(self, stack: AsyncExitStack) -> None:
        """Have release 0 serve, too, once the others have heard of it: as a router waits until it is ready."""
        if self.before:
            back = await self._worker(stack, "fastapi", "0", self.before)
            others = [worker for workers in self.serving.values() for worker in workers]
            while any([await worker.rotates() for worker in others]):  # noqa: ASYNC110 - a poll
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # what was under way with an id of before is over
            await self._note_rotations("until 0 is heard of")
            self.serving["fastapi"].append(back)

    async def _phases(self, stack: AsyncExitStack) -> None:
        third = (self.plan.seconds - self.plan.pause) / 3
        await self._age_for(third / 2)
        await self._pause()
        await self._age_for(third / 2)
        await self._note_rotations("0, 1 and 2" if self.before else "-")
        if self.before:
            gone = self.serving["fastapi"].pop()
            await gone.drain()
        await asyncio.sleep(self.plan.ttl + 1)  # until the fleet has forgotten it
        await self._age_for(third)
        await self._note_rotations("1 and 2")
        if self.before:
            await self._roll_back(stack)
            await self._age_for(third)
            await self._note_rotations("0 again")

    async def _age_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(self.engine.ask, "EVAL", HOUR_AGO, 0)
            await asyncio.sleep(min(2.0, seconds))

    async def _note_rotations(self, phase: str) -> None:
        counted = [await worker.counters() for workers in self.serving.values() for worker in workers]
        total = sum(counters.get("rotations", 0) for counters in counted)
        self.rotations[phase] = total - sum(self.rotations.values())

    async def _pause(self) -> None:
        """Freeze Redis; changes are saved explicitly meanwhile, so that each answer is true."""
        world = self.world
        world.calm = False
        while world.leaving:  # noqa: ASYNC110 - requests of others, looked at rarely
            await asyncio.sleep(0.01)
        world.outage = True
        self.engine.pause()
        await asyncio.sleep(self.plan.pause)
        self.engine.resume()
        await asyncio.gather(*(worker.recover() for workers in self.serving.values() for worker in workers))
        world.outage, world.calm = False, True

    async def _live(self, user: User) -> None:
        await asyncio.sleep(self.world.random.random() * 2)
        while not self._over:
            await user.act()
            await asyncio.sleep(self.world.random.random())

    def _groups(self) -> Sequence[str]:
        return self.world.random.choices(list(GROUPS), list(GROUPS.values()), k=self.plan.users)


class Control(Soak):
    """The same users over one blob per session."""

    async def _start(self, stack: AsyncExitStack) -> None:
        workers = [await self._worker(stack, "careless", release) for release in "12"]
        self.serving = dict.fromkeys(GROUPS, workers)

    async def _phases(self, stack: AsyncExitStack) -> None:
        await asyncio.sleep(self.plan.seconds)

    async def run(self) -> Report:
        report = await super().run()
        report.name = "one blob"
        return report


def soak(plan: Plan, control: Plan) -> tuple[Report, Report]:
    """Run the soak and its control."""
    with tempfile.TemporaryDirectory() as directory, start_engine("real") as engine:
        before = checkout(BEFORE, Path(directory))
        found = asyncio.run(Soak(plan, engine, before).run())
        engine.recover()
        return found, asyncio.run(Control(control, engine, None).run())


def show(report: Report) -> str:
    """The figures of one soak, a line each."""
    counts = report.tally.counts
    compared = f"{counts['checked']} looks at whole sessions, {counts['fields compared']} attributes compared"
    lines = [
        f"{report.name}: {report.users} users, {report.seconds:.0f} s, {report.releases} releases",
        f"  {counts['requests']} requests, {compared}",
        "  " + ", ".join(f"{kind} {counts[kind]}" for kind in ACTIONS),
        "  " + ", ".join(f"{kind} {counts[kind]}" for kind in FAULTS) + f", announced 503 {counts['announced 503']}",
    ]
    if report.rotations:
        lines.append("  periodic rotations: " + ", ".join(f"{name}: {n}" for name, n in report.rotations.items()))
    lines += [f"  {kind}: {text}" for kind in FAULTS for text in report.tally.examples.get(kind, [])[:3]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--pause", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    plan = Plan(given.users, given.seconds, given.pause, seed=given.seed)
    found, control = soak(plan, Plan(min(given.users, 100), 10.0, seed=given.seed))
    print(show(found), show(control), sep="\n")
    if found.releases < 3:
        print(f"release 0 did not take part: this tree has no history that reaches {BEFORE}")
    return bool(found.faults) or not control.faults


if __name__ == "__main__":
    sys.exit(main())
