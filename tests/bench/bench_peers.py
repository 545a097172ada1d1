"""Sessions beside those people use today: trips, server commands, CPU per request and lost updates, in one run.

    make bench-peers

Each contender runs in a process of its own, its application called in-process (no HTTP server), over the same
real Redis. Trips and commands are counted by a tap in front of it, where no CPU is measured. Rounds go round robin,
so that a busy machine is busy for all. Lost updates: two requests of one session write a field each at the same
time; a write that is not there afterwards is lost.
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
from zdd_sdk.store.engine import start_engine
from zdd_sdk.testing.tap import RespTap

PATHS = {"untouched": "/none", "read": "/read", "read + write": "/write", "login": "/login"}
ROOT = Path(__file__).parents[2]


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
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


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
    parser.add_argument("--rounds", type=int, default=9, help="of CPU")
    parser.add_argument("--requests", type=int, default=200, help="per round")
    parser.add_argument("--races", type=int, default=300)
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    options = parser.parse_args()
    names = [name for name in CONTENDERS if options.only in name]
    with start_engine("real") as engine, ExitStack() as stack:
        with RespTap(engine.url) as tap:
            counted = {name: count(name, tap) for name in names}
        running = {name: stack.enter_context(contender(name, engine.url)) for name in names}
        figures: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in PATHS} for name in names}
        for _ in range(options.rounds):
            for kind, path in PATHS.items():
                for name, one in running.items():
                    figures[name][kind].append(one.do("ask", path=path, times=options.requests))
        lost = {name: one.do("race", rounds=options.races) for name, one in running.items()}
    show(counted, figures, lost, options.races)
    return 0


def show(counted: Any, figures: Any, lost: dict[str, int], races: int) -> None:
    """Print the table."""
    print(f"{'trips/commands, CPU µs':<26}" + "".join(f"{kind:>20}" for kind in PATHS) + f"{'lost updates':>16}")
    for name, row in figures.items():
        cells = [
            f"{counted[name][kind][0]}/{counted[name][kind][1]}{statistics.median(row[kind]):>8.0f}" for kind in PATHS
        ]
        print(f"{name:<26}" + "".join(f"{cell:>20}" for cell in cells) + f"{lost[name]:>8} of {2 * races}")


if __name__ == "__main__":
    sys.exit(main())
