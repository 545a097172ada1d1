"""``zdd keys`` and ``zdd cost``: what operators see and decide."""

from __future__ import annotations

import contextlib
import json
import sys
from types import ModuleType
from typing import Any

import pytest

from zdd_sdk import ZeroDowntime
from zdd_sdk.cli import main
from zdd_sdk.errors import IdempotencyOutcomeUnknown
from zdd_sdk.store.engine import Engine

SECRET = "s" * 40


class Bank:
    """A service with one unsafe operation."""

    def __init__(self, url: str) -> None:
        self.zdd = ZeroDowntime(
            "bank", environment="test", redis_url=url, secret=(SECRET,), store={"operation_timeout": "5s"}
        )
        self.sent: list[str] = []
        self.fails = True
        decorate = self.zdd.idempotent(operation="transfers.create", effects="unsafe", principal="anonymous", key="key")
        self.transfer = decorate(self._transfer)

    def _transfer(self, key: str) -> int:
        self.sent.append(key)
        if self.fails:
            raise RuntimeError("the line went dead")
        return len(self.sent)

    def run(self, *words: str) -> int:
        return main(["keys", *words], service=self.zdd)


@pytest.fixture
def bank(real_engine: Engine) -> Bank:
    bank = Bank(real_engine.url)
    with pytest.raises(RuntimeError):
        bank.transfer("k-1")
    return bank


def listed(bank: Bank, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert bank.run("list-unknown", "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_an_unknown_outcome_is_listed_with_what_is_known(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = listed(bank, capsys)
    assert (row["operation"], row["state"], row["why"], row["effects"]) == (
        "transfers.create",
        "unknown",
        "failed-500",
        "unsafe",
    )
    assert "k-1" not in json.dumps(row)
    assert bank.run("show", row["name"]) == 0
    assert bank.run("show", "k-1", "--operation", "transfers.create") == 0
    assert capsys.readouterr().out.count("failed-500") == 2
    with pytest.raises(IdempotencyOutcomeUnknown):
        bank.transfer("k-1")


def test_not_done_lets_the_next_request_run(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    bank.fails = False
    assert bank.run("resolve", "k-1", "--operation", "transfers.create", "--not-done") == 0
    assert bank.transfer("k-1") == 2
    assert listed(bank, capsys) == []


def test_done_keeps_it_from_running_for_ever(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    bank.fails = False
    (row,) = listed(bank, capsys)
    assert bank.run("resolve", row["name"], "--done") == 0
    with pytest.raises(Exception, match="its answer is not kept"):
        bank.transfer("k-1")
    assert bank.sent == ["k-1"]
    assert bank.run("resolve", row["name"], "--not-done") == 1, "somebody has decided"
    assert listed(bank, capsys) == []


def test_purge_forgets_and_what_is_not_there_is_said(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    assert bank.run("purge", "k-1", "--operation", "transfers.create") == 0
    assert bank.run("purge", "k-1", "--operation", "transfers.create") == 1
    assert bank.run("show", "k-1", "--operation", "transfers.create") == 1
    bank.fails = False
    assert bank.transfer("k-1") == 2


def test_nothing_found_says_where_it_was_looked_for(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    where = "in service 'bank', environment 'test'"
    for words in (["show", "another"], ["purge", "another"], ["resolve", "another", "--done"]):
        assert bank.run(*words) == 1
        assert where in capsys.readouterr().out
    assert bank.run("purge", "k-1", "--operation", "transfers.create") == 0
    assert bank.run("list-unknown") == 0
    assert f"none {where}" in capsys.readouterr().out


def test_the_service_may_be_named_after_options(
    bank: Bank, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("a_bank")
    monkeypatch.setitem(sys.modules, "a_bank", module)
    monkeypatch.setattr(module, "zdd", bank.zdd, raising=False)
    words = ["keys", "show", "k-1", "--operation", "transfers.create"]
    for said in ([*words, "a_bank:zdd"], [*words[:3], "a_bank:zdd", *words[3:]]):
        assert main(said) == 0
        assert "unknown" in capsys.readouterr().out
    for wrong in (["a_bank:zdd", "more"], ["a_bank:zdd", "--more"], ["--more"]):
        with pytest.raises(SystemExit, match="2"):
            main([*words, *wrong])
        assert "unrecognized arguments" in capsys.readouterr().err


def test_the_list_survives_pages_and_takes_off_what_is_over(bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(250):
        bank.fails = number % 2 == 0
        with contextlib.suppress(RuntimeError):
            bank.transfer(f"more-{number}")
    assert len(listed(bank, capsys)) == 126


def test_cost_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--json", "--body", "4KiB", "--rate", "100"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert 300 < cost["record"] < 2000
    assert 4096 < cost["body"] < 8192
    assert cost["memory"] == pytest.approx(100 * (cost["record"] * 86_400 + cost["body"] * 900), rel=0.01)


@pytest.mark.parametrize("words", [("--body", "4 KX"), ("--retention", "1 year"), ("--body-ttl", "-1s")])
def test_cost_says_what_it_cannot_read(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cost", *words])
    assert f"argument {words[0]}: " in capsys.readouterr().err
