"""What `make demo` says, and with which exit status: it must be able to fail both ways."""

from __future__ import annotations

import msgspec
import pytest

from shop import demo
from tests.rehearsal.report.synthetic import make_result
from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.report import read_summary
from zdd_sdk.rehearsal.summary import summarise

KEPT = make_result(rate=20)
LOST = make_result(rate=20, sdk=False)


@pytest.fixture
def rehearsed(monkeypatch):
    """Replace the rehearsals by two given results, and collect their plans."""

    def play(kept, lost):
        plans = []

        def rehearse(plan, _directory, progress):
            plans.append(plan)
            result = kept if plan.sdk else lost
            progress.finished(result, summarise(result))
            return result, summarise(result)

        monkeypatch.setattr(demo, "rehearse", rehearse)
        return plans

    return play


def test_demo_passes_when_only_the_control_loses(rehearsed, tmp_path, capsys):
    plans = rehearsed(KEPT, LOST)
    assert demo.main(out=tmp_path) == 0
    assert [plan.sdk for plan in plans] == [True, False]
    assert read_summary(tmp_path / "fastapi" / "with-sdk").sdk is True
    assert read_summary(tmp_path / "fastapi" / "without-sdk").lost_logins > 0
    said = capsys.readouterr().out
    assert str(tmp_path / "fastapi" / "with-sdk" / "index.html") in said
    assert "lost logins" in said


def test_demo_fails_when_the_control_loses_nothing(rehearsed, tmp_path, capsys):
    rehearsed(KEPT, KEPT)
    assert demo.main(out=tmp_path) == 1
    assert "proves nothing" in capsys.readouterr().out


def test_demo_fails_when_the_sdk_loses(rehearsed, tmp_path, capsys):
    rehearsed(LOST, LOST)
    assert demo.main(out=tmp_path) == 1
    assert "something was lost" in capsys.readouterr().out


def test_every_shop_has_its_rehearsal_and_its_control(rehearsed, tmp_path):
    plans = rehearsed(KEPT, LOST)
    assert demo.main(list(demo.SHOPS), tmp_path) == 0
    assert [(plan.sdk, plan.old.command == plan.new.command) for plan in plans] == [(True, True), (False, True)] * 3
    assert all(f"shop_{name}." in plan.old.command for name, plan in zip(demo.SHOPS, plans[::2], strict=True))
    assert len({plan.scenario for plan in plans}) == 1


def test_one_shop_that_loses_is_enough_to_fail(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "demonstrate", lambda shop, _out: shop != "django")
    assert demo.main(["fastapi"], tmp_path) == 0
    assert demo.main(list(demo.SHOPS), tmp_path) == 1


def test_a_shop_nobody_has_written_is_refused():
    with pytest.raises(RehearsalError, match="no shop 'rails', only fastapi, django, flask"):
        demo.main(["fastapi", "rails"])


def test_a_failed_assert_alone_is_no_loss_of_the_control():
    control = msgspec.structs.replace(summarise(KEPT), asserts=3, ok=False)
    assert demo.judge(summarise(KEPT), control)[1] is False


def test_demo_takes_its_progress_away_after_an_error(rehearsed, tmp_path, monkeypatch):
    closed = []
    progress = demo.make_progress()
    monkeypatch.setattr(progress, "close", lambda: closed.append(True), raising=False)
    monkeypatch.setattr(demo, "make_progress", lambda *_, **__: progress)

    def fail(*_):
        message = "the shop was never ready"
        raise RehearsalError(message)

    monkeypatch.setattr(demo, "rehearse", fail)
    with pytest.raises(RehearsalError):
        demo.main(out=tmp_path)
    assert closed


def test_demo_is_the_promised_rehearsal():
    plan = demo.plan(sdk=True)
    assert (plan.strategy, plan.rollback, plan.instances, plan.users) == ("rolling", True, 3, 40)
    assert (plan.old.label, plan.new.label) == ("1", "2")
    assert demo.plan(sdk=False) == msgspec.structs.replace(plan, sdk=False)
