"""Processes of their own that use an engine, and ways to see who is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[3]

PROLOGUE = """
import json, os, sys, threading, time
from zdd_sdk.store.embedded import shared_engine, development_secret
from zdd_sdk.store.engine import start_engine
def say(**facts): print(json.dumps(facts), flush=True)
"""


class Program:
    """A Python process that says facts in JSON lines and then waits to be killed."""

    def __init__(self, source: str, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{PROLOGUE}{source}\ntime.sleep(60)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        )

    def hear(self) -> dict[str, Any]:
        """Read the next line the process says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the program ended: {self.process.communicate()[1]}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def kill(self) -> str:
        """End the process with SIGKILL and return what it wrote to standard error."""
        self.process.kill()
        return self.process.communicate()[1]


@pytest.fixture
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own, here and in its programs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def program(private_tmp: Path) -> Iterator[Callable[..., Program]]:
    """Start programs; all are killed after the test."""
    programs: list[Program] = []

    def start(source: str, **environ: str) -> Program:
        programs.append(Program(source, {"TMPDIR": str(private_tmp), **environ}))
        return programs[-1]

    yield start
    for one in programs:
        with contextlib.suppress(ValueError):
            one.kill()
    # The engines go by themselves; the test's directory must not go before them.
    for path in private_tmp.glob("zdd-*/*.engine"):
        facts = json.loads(path.read_bytes() or b"{}")
        for name in ("supervisor", "pid"):
            if not is_gone(facts.get(name, 0), 2.5):
                os.kill(facts[name], signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def is_gone(pid: int, within: float) -> bool:
    """Wait up to ``within`` seconds for a process to end."""
    deadline = time.monotonic() + within
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.fixture
def gone() -> Callable[[int, float], bool]:
    """`is_gone`, for tests."""
    return is_gone
