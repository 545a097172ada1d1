"""Small, short rehearsals for tests."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from zdd_sdk.rehearsal.core import rehearse
from zdd_sdk.rehearsal.model import InstanceRecord, Phase, Plan, ReleasePlan, Result, Sample, Summary, Violation

HERE = Path(__file__).parent
APPS = HERE / "apps"
UVICORN = f"{sys.executable} -m uvicorn --log-level warning --app-dir {APPS} plain:app --port {{port}}"
ZDD = str(Path(sys.executable).with_name("zdd"))
KEPT = f"{ZDD} serve uvicorn --log-level warning --app-dir {APPS} kept:app --port {{port}}"
STUBBORN = f"{sys.executable} {APPS / 'stubborn.py'} {{port}}"


class Silent:
    """A progress that only remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_phase(self, phase: Phase) -> None:
        self.heard.append(phase.name)

    def on_sample(self, sample: Sample) -> None:
        pass

    def on_violation(self, violation: Violation) -> None:
        pass

    def on_instance(self, instance: InstanceRecord) -> None:
        self.heard.append(instance.id)

    def on_note(self, text: str) -> None:
        self.heard.append(text)

    def finished(self, result: Result, summary: Summary) -> None:
        self.heard.append("finished")


def plan(command: str, *, scenario: str = "scenario.py", env: dict[str, str] | None = None, **more: Any) -> Plan:
    """Two instances, eight users, half a second per phase; the router at most 0.3 s late."""
    short = {
        "strategy": "rolling",
        "instances": 2,
        "users": 8,
        "think": 0.05,
        "warm_up": 0.5,
        "settled": 0.5,
        "cool_down": 0.5,
        "step": 0.7,
        "router_lag": 0.3,
        "grace": 15.0,
        "scenario": str(APPS / scenario),
    }
    releases = {
        side: ReleasePlan(side=side, label=label, command=command, env=env or {}, cwd=str(HERE))
        for side, label in (("old", "1"), ("new", "2"))
    }
    return Plan(**{**short, **releases, **more})


def rehearsed(directory: Path, made: Plan) -> tuple[Result, Summary]:
    """Carry it out; whatever was started must be gone afterwards."""
    with nothing_left(str(directory)):
        return rehearse(made, directory, Silent())


@contextlib.contextmanager
def nothing_left(mark: str) -> Iterator[None]:
    """Mark every process started inside, and assert that none is left, dying ones waited for."""
    os.environ["REHEARSAL_TEST"] = mark
    try:
        yield
    finally:
        del os.environ["REHEARSAL_TEST"]
        deadline = time.monotonic() + 10
        while marked(mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert marked(mark) == []


def marked(mark: str) -> list[str]:
    """Command lines of the living processes that carry the mark, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get("REHEARSAL_TEST") == mark:
                found.append(" ".join(process.cmdline()))
    return found
