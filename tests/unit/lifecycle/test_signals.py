"""Chaining SIGTERM in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, signal, sys, threading, time
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.lifecycle.servers.signals import chain_sigterm
from zdd_sdk.settings import LifecycleSettings

settings = LifecycleSettings(drain_lag=float(sys.argv[2]), run_dir=sys.argv[3])
lifecycle = Lifecycle(settings, service="s", environment="e")

def handler(number, frame):
    print("server's own handler", lifecycle.state, flush=True)
    sys.exit(7)

kind = sys.argv[1]
if kind == "broken":
    lifecycle.begin_drain = None
if kind == "handler":
    signal.signal(signal.SIGTERM, handler)
if kind == "ignored":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if kind == "thread":
    signal.signal(signal.SIGTERM, handler)
    results = []
    thread = threading.Thread(target=lambda: results.append(chain_sigterm(lifecycle)))
    thread.start(); thread.join()
    print("installed", results[0], flush=True)
else:
    print("installed", chain_sigterm(lifecycle), chain_sigterm(lifecycle), flush=True)
time.sleep(10)
"""


def _start(kind: str, lag: float, directory: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROGRAM, kind, str(lag), str(directory / "run")]
    return subprocess.Popen(
        words, cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=15)
    return process.returncode, output


def test_the_servers_handler_comes_after_the_lag(tmp_path: Path) -> None:
    with _start("handler", 0.5, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "installed True False\n"
        began = time.monotonic()
        process.terminate()
        assert _end(process) == (7, "server's own handler draining\n")
        assert 0.45 < time.monotonic() - began < 3


def test_a_second_signal_comes_through_at_once(tmp_path: Path) -> None:
    with _start("handler", 9, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        time.sleep(0.2)
        began = time.monotonic()
        process.terminate()
        assert _end(process)[0] == 7
        assert time.monotonic() - began < 2


def test_without_a_handler_the_process_still_dies_of_it(tmp_path: Path) -> None:
    with _start("default", 0.2, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert _end(process)[0] == -signal.SIGTERM


def test_whatever_breaks_the_process_ends(tmp_path: Path) -> None:
    with _start("broken", 9, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        began = time.monotonic()
        assert _end(process)[0] == -signal.SIGTERM
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(("kind", "shown"), [("ignored", "installed False False"), ("thread", "installed False")])
def test_not_installed_where_it_has_no_place(tmp_path: Path, kind: str, shown: str) -> None:
    with _start(kind, 1, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == shown
        process.kill()
