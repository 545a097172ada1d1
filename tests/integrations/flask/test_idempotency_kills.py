"""Kill −9 at every point of a run, and the same key again: as a function, in Flask and in FastAPI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.start import ALL
from zdd_sdk.store.engine import Engine

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[3]
SURFACES = ("function", "flask", "fastapi")
"""All points on each in `make servers`; in ordinary tests all in Flask, and a sample of the others."""
UNKNOWN = "idempotency-outcome-unknown"

EXPECTED = {
    ("external", "before"): (1, "answer"),
    ("external", "claimed"): (1, "answer"),
    ("external", "done"): (2, "answer"),
    ("external", "settling"): (2, "answer"),
    ("external", "settled"): (1, "answer"),
    ("unsafe", "before"): (1, "answer"),
    ("unsafe", "claimed"): (0, UNKNOWN),
    ("unsafe", "done"): (1, UNKNOWN),
    ("unsafe", "settling"): (1, UNKNOWN),
    ("unsafe", "settled"): (1, "answer"),
    ("takeover", "done"): (2, "answer"),
    ("takeover", "settling"): (2, "answer"),
    ("random", "done"): (2, "answer"),
}
"""Calls downstream, and what the third attempt is told, by policy and point; `answer`: the operation's own."""


class Crashing:
    """A process that runs each attempt in a fork.

    Attributes:
        effects: the file with a line for each call downstream.
        log: what it says.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.effects = directory / "effects"
        path = os.pathsep.join((".", "integrations", *filter(None, [os.environ.get("PYTHONPATH")])))
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integrations.flask.crashing_application", url, str(self.effects)],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip

    def ask(self, surface: str, policy: str, name: str, point: str = "") -> str:
        """Ask once, and say how that ended: the answer, a code, or ``killed``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        case = {"surface": surface, "policy": policy, "name": name, "point": point}
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, self.log.read_text()
        return answer

    def downstream(self) -> dict[str, Counter[str]]:
        """Return how often each key was used downstream, by order."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for line in self.effects.read_text().splitlines():
            name, child = line.split()
            found[name][child] += 1
        return found


@pytest.fixture
def crashing(real_engine: Engine, tmp_path: Path) -> Iterator[Crashing]:
    found = Crashing(real_engine.url, tmp_path)
    yield found
    assert found.process.stdin is not None
    found.process.stdin.close()
    found.process.wait(30)
    assert found.process.stdout is not None
    found.process.stdout.close()


def test_killed_at_every_point_of_a_run(crashing: Crashing) -> None:
    cases = {
        f"{surface}-{policy}-{point}": (surface, policy, point)
        for surface in SURFACES
        for policy, point in EXPECTED
        if ALL or surface == "flask" or (point == "done" and policy != "random")
    }
    for name, (surface, policy, point) in cases.items():
        assert crashing.ask(surface, policy, name, point) == "killed", name
    time.sleep(1.5)  # longer than the lease
    again = {name: case[:2] for name, case in cases.items()}
    answers = {name: [crashing.ask(*case, name) for _ in range(2)] for name, case in again.items()}
    downstream = crashing.downstream()
    for name, (_, policy, point) in cases.items():
        runs, told = EXPECTED[policy, point]
        expected = name if told == "answer" else told
        assert (name, sum(downstream[name].values()), answers[name]) == (name, runs, [expected] * 2)
        effects = len(downstream[name])
        if policy in ("takeover", "random"):
            assert runs == 2, "the control does it twice"
            assert effects == (2 if policy == "random" else 1)
        else:
            assert effects <= 1, "at most one effect downstream, and never a silent second run of what is unsafe"
