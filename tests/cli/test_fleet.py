"""``zdd fleet`` as a person and a deploy script use it."""

from __future__ import annotations

import json
import os
import threading

import pytest

from zdd_sdk.cli import main
from zdd_sdk.fleet import ReleaseRow, WorkerRow
from zdd_sdk.fleet.core import Pulser
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.lifecycle import InstanceDirectory, instance_root
from zdd_sdk.settings import LifecycleSettings, StoreSettings
from zdd_sdk.store import Keys, finish
from zdd_sdk.store.connect import Stores

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RELEASES = {
    "1.0": ReleaseRow("aaaaaaaaaaaa", "1.0", "1.0"),
    "2.0": ReleaseRow("bbbbbbbbbbbb", "2.0+0123456", "2.0", COMMIT, "7"),
}


class Service:
    """A service called ``shop`` in ``test``, with as many workers as the test wants."""

    def __init__(self, engine):
        self.engine = engine
        self.keys = Keys("shop", "test")
        self.stores = Stores(StoreSettings(redis_url=engine.url, operation_timeout=5.0, total_timeout=10.0), self.keys)
        self.workers = {}

    def work(self, name, version="1.0", *, instance=None, state="ready", shown=None, fingerprint=""):
        row = WorkerRow(
            name,
            instance=instance or f"i-{name}",
            release=RELEASES[version],
            fingerprint=fingerprint or f"print-{version}",
        )
        shown = {"release.version": version} if shown is None else shown
        pulser = Pulser(self.keys, Timing(2.0, 10.0), row=row, shown=shown, lifecycle_state=lambda: state, parts=())
        self.workers[name] = pulser
        for _ in range(3):
            finish(pulser.pulse(self.stores.blocking))

    def age(self):
        meta = self.keys.name("fleet", "fleet", "meta")
        self.engine.ask("HSET", meta, "born", int(self.engine.ask("HGET", meta, "born")) - 60_000)

    def leave(self, name):
        finish(self.workers[name].goodbye(self.stores.blocking))


@pytest.fixture
def service(engine, monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("ZDD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZDD_SERVICE", "shop")
    monkeypatch.setenv("ZDD_ENVIRONMENT", "test")
    monkeypatch.setenv("ZDD_REDIS_URL", engine.url)
    built = Service(engine)
    yield built
    built.stores.close()


def shown(capsys, *words, status=0):
    assert main(["fleet", *words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_instances_by_release_and_state(service, capsys):
    service.work("a", instance="web-1")
    service.work("b", instance="web-1", state="draining")
    service.work("c", "2.0", instance="web-2")
    service.age()
    assert main(["fleet"]) == 0
    out = capsys.readouterr().out
    assert "shop in test: 3 workers on 2 instances" in out
    assert "web-1" in out
    assert "1 draining, 1 ready" in out
    found = shown(capsys)
    assert found["known"] is True
    assert found["why"] is None
    assert found["workers"] == 3
    assert found["releases"][1] == {
        "id": "bbbbbbbbbbbb",
        "label": "2.0+0123456",
        "version": "2.0",
        "commit": COMMIT,
        "build": "7",
        "instances": [{"instance": "web-2", "role": "web", "state": "ready", "workers": 1, "states": {"ready": 1}}],
    }
    assert found["releases"][0]["instances"][0]["state"] == "draining"


def test_unknown_is_said_plainly(service, capsys):
    assert main(["fleet"]) == 0
    assert "UNKNOWN who is alive: the registry is empty" in capsys.readouterr().out
    service.work("a")
    assert main(["fleet"]) == 0
    assert "UNKNOWN who is alive: the registry is new" in capsys.readouterr().out
    assert shown(capsys)["known"] is False


def test_a_store_that_is_away_is_unknown_and_a_failed_check(service, capsys, monkeypatch):
    monkeypatch.setenv("ZDD_REDIS_URL", "redis://127.0.0.1:1")
    for words in ([], ["diff"]):
        assert main(["fleet", *words]) == 1
        assert "unknown: the store is away" in capsys.readouterr().err


def test_where_to_look_can_be_said(service, engine, capsys, monkeypatch):
    service.work("a")
    for name in ("ZDD_SERVICE", "ZDD_ENVIRONMENT", "ZDD_REDIS_URL"):
        monkeypatch.delenv(name)
    where = ["--service", "shop", "--environment", "test", "--redis-url", engine.url]
    assert shown(capsys, *where)["workers"] == 1
    assert main(["fleet", *where, "diff"]) == 0
    assert main(["fleet", "wait", *where, "--release", "1.0", "--timeout", "0"]) == 0
    assert main(["fleet", "--service", "a/b"]) == 2


def test_without_a_name_it_is_the_service_that_runs_here(service, capsys, monkeypatch, tmp_path):
    """As `zdd drain` does: in development often only code says the name."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("ZDD_SERVICE")
    service.work("a")
    here = InstanceDirectory(instance_root(LifecycleSettings(), "shop", "test"), "i-a")
    here.join()
    assert shown(capsys)["service"] == "shop"
    InstanceDirectory(instance_root(LifecycleSettings(), "tea-shop", "test"), "i-b").join()
    assert main(["fleet"]) == 2
    assert "several services run here: shop, tea-shop" in capsys.readouterr().err


def test_no_engine_is_started_to_say_that_nobody_is_there(service, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for name in ("ZDD_SERVICE", "ZDD_ENVIRONMENT", "ZDD_REDIS_URL"):
        monkeypatch.delenv(name)
    assert main(["fleet"]) == 2
    assert "no service runs on this machine" in capsys.readouterr().err


def test_a_row_cannot_drive_the_terminal(service, capsys):
    service.work("a", instance="evil\x1b[2Jname")
    assert main(["fleet"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil?[2Jname" in out


def test_diff_shows_only_what_differs(service, capsys):
    common = {"service": "shop", "secret": "(set)"}
    service.work("a", shown={**common, "fleet.pulse": "2s", "old.option": "1"})
    service.work("b", "2.0", shown={**common, "fleet.pulse": "3s"})
    assert main(["fleet", "diff"]) == 0
    out = capsys.readouterr().out
    assert "fleet.pulse" in out
    assert "secret" not in out
    found = shown(capsys, "diff")
    assert found["differences"] == {"fleet.pulse": ["2s", "3s"], "old.option": ["1", "(no such option)"]}
    assert [column["release"]["label"] for column in found["columns"]] == ["1.0", "2.0+0123456"]
    assert shown(capsys, "diff", "2.0")["differences"] == {}


def test_diff_shows_a_release_that_runs_with_two_configurations(service, capsys):
    service.work("a", shown={"fleet.pulse": "2s"}, fingerprint="one")
    service.work("b", shown={"fleet.pulse": "3s"}, fingerprint="two")
    assert shown(capsys, "diff")["differences"] == {"fleet.pulse": ["2s", "3s"]}


def test_diff_says_what_it_cannot_read(service, engine, capsys):
    service.work("a", shown={"x": "1"})
    service.work("b", "2.0", shown={"x": "2"})
    engine.ask("SET", service.keys.name("fleet", "fleet", "settings", "print-2.0"), b"\x02\x00later")
    found = shown(capsys, "diff")
    assert [column["readable"] for column in found["columns"]] == [True, False]
    assert found["differences"] == {}
    assert main(["fleet", "diff"]) == 0
    assert "settings unreadable" in capsys.readouterr().out


def test_diff_of_nothing(service, capsys):
    assert main(["fleet", "diff"]) == 0
    assert "fewer than two configurations" in capsys.readouterr().out


def test_wait_is_satisfied(service, capsys):
    service.work("a", "2.0")
    service.work("b", "2.0")
    service.age()
    words = ["wait", "--release", COMMIT[:7], "--ready", "2", "--gone", "1.0", "--timeout", "5"]
    assert shown(capsys, *words)["satisfied"] is True


def test_wait_times_out_and_says_what_was_missing(service, capsys):
    service.work("a", "2.0")
    service.work("b", "1.0")
    service.age()
    words = ["wait", "--release", "2.0", "--ready", "3", "--gone", "1.0", "--timeout", "0.6"]
    found = shown(capsys, *words, status=1)
    assert found == {
        "satisfied": False,
        "missing": "1 of 3 instances of 2.0 are ready; 1 worker of 1.0 left",
    }
    assert main(["fleet", *words]) == 1
    assert "timed out: 1 of 3 instances of 2.0 are ready" in capsys.readouterr().out


def test_wait_sees_what_comes(service, capsys):
    service.work("a", "1.0")
    service.age()

    def deploy():
        service.work("b", "2.0")
        service.leave("a")

    timer = threading.Timer(0.3, deploy)
    timer.start()
    try:
        assert shown(capsys, "wait", "--release", "2.0", "--gone", "1.0", "--timeout", "20")["satisfied"] is True
    finally:
        timer.join()


def test_unknown_never_satisfies_gone_unless_told(service, engine, capsys):
    service.work("a", "2.0")
    words = ["wait", "--release", "2.0", "--gone", "1.0", "--timeout", "0"]
    assert "unknown whether 1.0 is gone" in shown(capsys, *words, status=1)["missing"]
    assert shown(capsys, *words, "--allow-unknown")["satisfied"] is True
    service.age()
    assert shown(capsys, *words)["satisfied"] is True
    engine.flush()
    assert (
        "unknown whether 1.0 is gone" in shown(capsys, "wait", "--gone", "1.0", "--timeout", "0", status=1)["missing"]
    )


def test_wait_outlives_a_store_that_is_away(service, capsys):
    words = ["--redis-url", "redis://127.0.0.1:1", "wait", "--gone", "1.0", "--timeout", "0.6"]
    assert "the store is away" in shown(capsys, *words, status=1)["missing"]


@pytest.mark.parametrize("words", [["wait"], ["wait", "--ready", "2"], ["wait", "--gone", "1", "--ready", "2"]])
def test_waiting_for_nothing_is_bad_input(service, capsys, words):
    assert main(["fleet", *words]) == 2
    assert "--release" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--ready", "0"], ["--ready", "x"], ["--timeout", "soon"], ["--timeout", "-1"]])
def test_bad_numbers_are_bad_input(service, words):
    with pytest.raises(SystemExit, match="2"):
        main(["fleet", "wait", "--release", "1.0", *words])
