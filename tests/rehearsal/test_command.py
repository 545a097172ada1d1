"""``zdd rehearse`` as people run it: exit status, files, git refs, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rehearsal.harness import APPS, UVICORN, ZDD, marked

pytestmark = pytest.mark.timeout(120)
QUICK = ("--users", "6", "--instances", "1", "--think", "50ms", "--warm-up", "0.5s", "--settled", "0.5s")
QUICK += ("--cool-down", "0.5s", "--router-lag", "0.2s", "--no-rollback")


def zdd(*words: str, cwd: Path, scenario: str = "glance.py") -> subprocess.CompletedProcess[str]:
    line = [ZDD, "rehearse", "--scenario", str(APPS / scenario), *QUICK, *words]
    env = {**os.environ, "REHEARSAL_TEST": str(cwd)}
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert marked(str(cwd)) == []
    return done


def test_exit_1_and_a_report_when_something_was_lost(tmp_path: Path) -> None:
    done = zdd(UVICORN, "--json", "--out", "report", cwd=tmp_path, scenario="scenario.py")
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "report/rehearsal.json").read_text("utf-8"))
    assert printed["lost_logins"] > 0
    assert (tmp_path / "report/index.html").stat().st_size > 1000
    assert (tmp_path / "report/logs/old-1.log").exists()


def test_exit_2_when_it_cannot_be_carried_out(tmp_path: Path) -> None:
    done = zdd(UVICORN.replace("plain:app", "missing:app"), cwd=tmp_path)
    assert done.returncode == 2
    assert "Could not import module" in done.stderr
    assert zdd("serve", cwd=tmp_path).returncode == 2, "no {port}"
    assert zdd(UVICORN, "--old-ref", "v1", cwd=tmp_path).returncode == 2, "not a repository"


def test_two_git_refs_are_rehearsed_and_the_caller_s_tree_is_left_alone(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@x")
        return subprocess.run(
            ("git", *identity, *words), cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    service = tmp_path / "service"
    service.mkdir()
    server = (APPS / "stubborn.py").read_text("utf-8").replace("SIG_IGN", "SIG_DFL")
    for text in (server, f"{server}\n"):
        (service / "serve.py").write_text(text, "utf-8")
        git("add", ".")
        git("commit", "-q", "-m", "one more")
    (service / "serve.py").write_text("raise SystemExit('the working tree must not run')", "utf-8")
    done = zdd(f"{sys.executable} serve.py {{port}}", "--old-ref", "HEAD~1", "--new-ref", "HEAD", "--json", cwd=service)
    assert done.returncode in (0, 1), done.stderr
    assert {side: one["requests"] > 0 for side, one in json.loads(done.stdout)["releases"].items()} == {
        "old": True,
        "new": True,
    }
    assert git("worktree", "list").count("\n") == 1
    assert "git knows no commit 'v9'" in zdd(UVICORN, "--old-ref", "v9", cwd=service).stderr
    assert "must not run" in (service / "serve.py").read_text("utf-8")


def begin(cwd: Path) -> subprocess.Popen[bytes]:
    """Start a rehearsal and wait until its instances serve."""
    line = [ZDD, "rehearse", "--scenario", str(APPS / "glance.py"), *QUICK, "--warm-up", "60s", UVICORN]
    # Nobody tidies up after SIGKILL but pytest.
    env = {**os.environ, "REHEARSAL_TEST": str(cwd), "TMPDIR": str(cwd)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in `make test &`: children would ignore it, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    started = subprocess.Popen(line, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert started.stderr
    for said in started.stderr:
        if b"warm-up" in said:
            break
    assert len(marked(str(cwd))) >= 3, "the rehearsal, an instance, Redis"
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    started = begin(tmp_path)
    try:
        started.send_signal(number)
        assert started.wait(10) in (130, -signal.SIGKILL)
        limit = time.monotonic() + 10
        while (left := marked(str(tmp_path))) and time.monotonic() < limit:
            time.sleep(0.05)
        assert left == []
    finally:
        started.kill()
        started.communicate()
