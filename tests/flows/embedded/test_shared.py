"""One engine for every process of a service; whoever dies, no orphan is left."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from zdd_sdk.errors import MissingExtra, SettingsError, StoreUnavailable
from zdd_sdk.store import embedded
from zdd_sdk.store.wire import Wire

Start = Callable[..., Any]
Gone = Callable[[int, float], bool]

JOIN = "say(url=shared_engine('shop', 'development'))"


def facts_of(directory: Path, name: str = "shop@development") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / f"zdd-{os.geteuid()}" / f"{name}.engine").read_bytes())
    return found


def ask(url: str, *words: str) -> Any:
    with Wire(urlsplit(url).port or 0) as wire:
        return wire.ask(*words)


def seen_logins(urls: list[str]) -> int:
    """Log in through each process in turn, 40 times, reading back through the next one."""
    seen = 0
    for number in range(40):
        ask(urls[number % len(urls)], "SET", f"session-{number}", "user")
        seen += ask(urls[(number + 1) % len(urls)], "GET", f"session-{number}") == b"user"
    return seen


def test_four_processes_racing_to_start_share_one_engine(program: Start, private_tmp: Path, gone: Gone) -> None:
    workers = [program(JOIN) for _ in range(4)]
    urls = [worker.hear()["url"] for worker in workers]
    facts = facts_of(private_tmp)

    assert [facts["url"]] * 4 == urls
    assert seen_logins(urls) == 40

    for worker in workers[:3]:
        worker.kill()
    assert not gone(facts["pid"], 2.0)
    workers[3].kill()
    assert gone(facts["pid"], 2.0)
    assert gone(facts["supervisor"], 1.0)


def test_control_an_engine_per_process_loses_logins(program: Start) -> None:
    workers = [program("engine = start_engine(); say(url=engine.url)") for _ in range(2)]
    urls = [worker.hear()["url"] for worker in workers]

    assert seen_logins(urls) < 40


def test_killing_everything_at_once_leaves_no_engine(program: Start, private_tmp: Path, gone: Gone) -> None:
    workers = [program(JOIN) for _ in range(4)]
    for worker in workers:
        worker.hear()
    facts = facts_of(private_tmp)

    for worker in workers:
        worker.kill()

    assert gone(facts["pid"], 2.0)
    assert gone(facts["supervisor"], 1.0)


def test_a_paused_engine_goes_with_its_last_client_too(program: Start, private_tmp: Path, gone: Gone) -> None:
    worker = program(JOIN)
    worker.hear()
    facts = facts_of(private_tmp)
    os.kill(facts["pid"], signal.SIGSTOP)

    worker.kill()

    assert gone(facts["pid"], 2.0)


def test_a_forked_child_keeps_the_engine(program: Start, private_tmp: Path, gone: Gone) -> None:
    parent = program(f"{JOIN}\nif not os.fork(): say(child=os.getpid(), again=shared_engine('shop', 'development'))")
    url = parent.hear()["url"]
    child = parent.hear()
    assert url == child["again"]

    parent.process.kill()
    engine = facts_of(private_tmp)["pid"]
    assert not gone(engine, 2.0)

    os.kill(child["child"], signal.SIGKILL)
    assert gone(engine, 2.0)


def test_a_killed_supervisor_takes_the_engine_along_and_the_next_call_starts_one_on_its_port(
    program: Start, private_tmp: Path, gone: Gone
) -> None:
    first = program(f"{JOIN}\nsys.stdin.readline()\n{JOIN}")
    url = first.hear()["url"]
    facts = facts_of(private_tmp)

    os.kill(facts["supervisor"], signal.SIGKILL)

    assert gone(facts["pid"], 2.0)
    assert url == program(JOIN).hear()["url"]
    assert ask(url, "PING") == b"PONG"


def test_a_killed_engine_comes_back_on_its_port(program: Start, private_tmp: Path) -> None:
    url = program(JOIN).hear()["url"]
    os.kill(facts_of(private_tmp)["pid"], signal.SIGKILL)

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert ask(url, "PING") == b"PONG"
            break
        except OSError:
            time.sleep(0.05)
    else:
        pytest.fail("the engine did not come back")
    assert url == program(JOIN).hear()["url"]


def test_a_restarted_process_finds_what_the_last_one_left(program: Start) -> None:
    first = program(JOIN)
    url = first.hear()["url"]
    ask(url, "SET", "cart", "3")
    first.kill()

    assert ask(program(JOIN).hear()["url"], "GET", "cart") == b"3"


def test_services_and_environments_have_engines_of_their_own(program: Start) -> None:
    source = "say(urls=[shared_engine(*pair) for pair in (('a', 'dev'), ('b', 'dev'), ('a', 'test'), ('a', 'dev'))])"
    urls = program(source).hear()["urls"]

    assert len(set(urls)) == 3
    assert urls[0] == urls[3]


def test_says_once_which_engine_it_took(program: Start) -> None:
    log = "import logging; logging.basicConfig(format='%(levelname)s %(name)s %(message)s')\n"
    first = program(f"{log}{JOIN}\n{JOIN}")
    first.hear()
    first.hear()
    second = program(f"{log}{JOIN}")
    second.hear()
    said = first.kill()

    assert said.count("WARNING zdd.store no ZDD_REDIS_URL: using an embedded engine") == 1
    assert "keeps nothing" in said
    assert not second.kill()


def test_what_joining_needs_is_closed_to_others(program: Start, private_tmp: Path) -> None:
    worker = program(f"{JOIN}; say(secret=development_secret('shop', 'development'))")
    worker.hear()
    worker.hear()
    directory = private_tmp / f"zdd-{os.geteuid()}"

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


@pytest.mark.parametrize("call", [embedded.shared_engine, embedded.development_secret])
def test_a_directory_that_is_not_ours_is_refused(
    private_tmp: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str, str], str]
) -> None:
    directory = private_tmp / f"zdd-{os.geteuid()}"

    (private_tmp / "elsewhere").mkdir(0o700)
    directory.symlink_to(private_tmp / "elsewhere")
    with pytest.raises(SettingsError, match="this user alone"):
        call("shop", "development")

    directory.unlink()
    directory.mkdir(0o777)
    directory.chmod(0o777)
    with pytest.raises(SettingsError, match="0700"):
        call("shop", "development")

    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    directory.rename(private_tmp / f"zdd-{os.getuid() + 1}")
    (private_tmp / f"zdd-{os.getuid() + 1}").chmod(0o700)
    with pytest.raises(SettingsError, match="TMPDIR"):
        call("shop", "development")


@pytest.mark.parametrize("ending", ["lock", "clients", "engine"])
def test_a_planted_link_is_refused(private_tmp: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(embedded, "_joined", {})
    directory = private_tmp / f"zdd-{os.geteuid()}"
    directory.mkdir(0o700)
    (directory / f"shop@development.{ending}").symlink_to(private_tmp / "victim")

    with pytest.raises(SettingsError, match=ending):
        embedded.shared_engine("shop", "development")
    assert not (private_tmp / "victim").exists()


def test_a_missing_temporary_directory_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))

    with pytest.raises(SettingsError, match="No such file"):
        embedded.development_secret("shop", "development")


def test_no_engine_here_is_a_missing_extra(private_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_joined", {})
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(MissingExtra, match="ZDD_REDIS_URL"):
        embedded.shared_engine("shop", "development")


def test_an_engine_that_cannot_start_is_said_with_its_reason(
    private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_joined", {})
    broken = private_tmp / "redis-server"
    broken.write_text("#!/bin/sh\necho no memory left\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{private_tmp}:{os.environ['PATH']}")

    with pytest.raises(StoreUnavailable, match="no memory left"):
        embedded.shared_engine("shop", "development")


def test_a_process_stuck_while_joining_is_named(private_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_joined", {})
    monkeypatch.setattr(embedded, "_JOIN", 0.1)
    embedded.development_secret("shop", "development")

    with (
        embedded._exclusive(private_tmp / f"zdd-{os.geteuid()}" / "shop@development.lock"),
        pytest.raises(StoreUnavailable, match="another process has held"),
    ):
        embedded.shared_engine("shop", "development")


def test_the_development_secret_is_long_and_survives(program: Start, private_tmp: Path) -> None:
    source = "say(secret=development_secret('shop', 'development'))"
    racing = [program(source) for _ in range(4)]
    said = {one.hear()["secret"] for one in racing}
    for one in racing:
        one.kill()

    assert said == {embedded.development_secret("shop", "development")}
    assert len(said.pop()) == 64
    assert embedded.development_secret("shop", "test") != embedded.development_secret("shop", "development")
