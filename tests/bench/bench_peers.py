"""Sessions beside those people use today: trips, server commands, CPU per request and lost updates, in one run.

    make bench-peers

Each contender runs in a process of its own, its application called in-process (no HTTP server), over the same
real Redis. Trips and commands are counted by a tap in front of it, and calls of Python and C functions by the
interpreter, where no CPU is measured: they are the same in every run. Rounds of CPU go round robin, so that a busy
machine is busy for all, and what is compared are ratios within a round. CPU is that of the application's process;
what the server spends is said apart. Lost updates: two requests of one session write a field each at the same time; a
write that is not there afterwards is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peers.contenders import CONTENDERS
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.tap import RespTap

PATHS = {"untouched": "/none", "read": "/read", "read + write": "/write", "login": "/login"}
ROOT = Path(__file__).parents[2]

Figures = dict[str, dict[str, list[float]]]
"""By contender, kind of request and round."""


class Contender:
    """A worker process."""

    def __init__(self, name: str, url: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
        env = {**os.environ, "BENCH_REDIS_URL": url, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        words = [sys.executable, "-m", "tests.bench.peers.worker", name]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=ROOT, text=True
        )

    def do(self, what: str, **order: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        with self.process:  # closes the pipes and waits
            pass


@contextmanager
def contender(name: str, url: str) -> Iterator[Contender]:
    """Start a contender that is warm and has a session with ten fields."""
    started = Contender(name, url)
    try:
        for path in ("/fill", *PATHS.values()):
            started.do("ask", path=path, times=2)
        yield started
    finally:
        started.close()


def count(name: str, tap: RespTap) -> dict[str, tuple[int, int]]:
    """Trips and commands of one request of each kind."""
    counted = {}
    with contender(name, tap.url) as one:
        for kind, path in PATHS.items():
            tap.reset()
            one.do("ask", path=path, times=1)
            counted[kind] = (tap.trips, len(tap.commands))
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="of CPU")
    parser.add_argument("--requests", type=int, default=300, help="per round")
    parser.add_argument("--races", type=int, default=300)
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    options = parser.parse_args()
    names = [name for name in CONTENDERS if options.only in name]
    with start_engine("real") as engine, ExitStack() as stack:
        with RespTap(engine.url) as tap:
            counted = {name: count(name, tap) for name in names}
        running = {name: stack.enter_context(contender(name, engine.url)) for name in names}
        calls = {name: [one.do("calls", path=path) for path in PATHS.values()] for name, one in running.items()}
        cpu, server = spend(running, engine, options.rounds, options.requests)
        lost = {name: one.do("race", rounds=options.races) for name, one in running.items()}
    show("trips / commands", {name: [f"{trips}/{sent}" for trips, sent in counted[name].values()] for name in names})
    show("calls", {name: [f"{number:.0f}" for number in calls[name]] for name in names})
    show("CPU µs", {name: [f"{statistics.median(spent):.0f}" for spent in cpu[name].values()] for name in names})
    show(
        "CPU µs of the server",
        {name: [f"{statistics.median(on):.0f}" for on in server[name].values()] for name in names},
    )
    show("CPU, ours to theirs", ratios(cpu))
    for name in names:
        print(f"{name:<28}{lost[name]} of {2 * options.races} updates lost")
    return 0


def spend(running: dict[str, Contender], engine: Engine, rounds: int, requests: int) -> tuple[Figures, Figures]:
    """CPU µs per request of each kind, by round: of each contender's process, and of the server for it."""
    ours: Figures = {name: {kind: [] for kind in PATHS} for name in running}
    server: Figures = {name: {kind: [] for kind in PATHS} for name in running}
    with Wire(engine.port, timeout=60.0) as wire:
        for _ in range(rounds):
            for kind, path in PATHS.items():
                for name, one in running.items():
                    before = server_cpu(wire)
                    ours[name][kind].append(one.do("ask", path=path, times=requests))
                    server[name][kind].append((server_cpu(wire) - before) / requests)
    return ours, server


def server_cpu(wire: Wire) -> float:
    """CPU µs the server has used."""
    lines = dict(line.split(":") for line in wire.ask("INFO", "cpu").decode().split() if ":" in line)
    return (float(lines["used_cpu_user"]) + float(lines["used_cpu_sys"])) * 1e6


def ratios(cpu: Figures) -> dict[str, list[str]]:
    """What a round cost with ours to what it cost with each peer on the same framework, the median of the rounds."""
    found = {}
    for name, spent in cpu.items():
        ours = cpu.get(f"{name.partition(',')[0]}, zdd", spent)
        if ours is not spent:
            pairs = [zip(ours[kind], spent[kind], strict=True) for kind in PATHS]
            found[name] = [f"{statistics.median(our / their for our, their in pair):.2f}" for pair in pairs]
    return found


def show(title: str, rows: dict[str, list[str]]) -> None:
    """Print a table."""
    print(f"{title:<28}" + "".join(f"{kind:>14}" for kind in PATHS))
    for name, cells in rows.items():
        print(f"{name:<28}" + "".join(f"{cell:>14}" for cell in cells))
    print()


if __name__ == "__main__":
    sys.exit(main())
