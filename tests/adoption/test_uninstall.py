"""`zdd uninstall --check` and the finding of `zdd doctor`: what they see, and what they must not call safe."""

from __future__ import annotations

import json

import pytest

from tests.adoption.world import Browser, Service, World, run
from zdd_sdk.cli import main
from zdd_sdk.cli.uninstall import count_only_ours, judge_removal, judge_step
from zdd_sdk.sessions.adopt_count import Seen, Tally, read_tally
from zdd_sdk.store import Keys, finish

KEYS = Keys("test", "test")
NOW = 1_000_000.0


@pytest.fixture
def engine(real_engine):
    return real_engine


def login(values):
    values["user"] = "ada"


def look(_):
    """Change nothing."""


def live(world, *releases):
    """One user who logs in at the first release and looks at the others."""
    browser = Browser()
    for number, release in enumerate(releases):
        answer = run(Service(world, release).handle(browser.cookies, look if number else login))
        assert not answer.failed
        browser.take(answer)


@pytest.mark.parametrize(
    ("releases", "only_ours"),
    [
        (("mirror",), 0),
        (("none", "mirror"), 0),
        (("lead",), 0),
        (("final",), 1),
        (("lead", "final"), 1),
        (("final", "lead"), 0),
        (("final", "mirror"), 0),
    ],
)
@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
def test_sessions_only_in_ours_are_counted(stores, in_browser, releases, only_ours):
    live(World(stores.blocking, in_browser), *releases)
    assert finish(count_only_ours(stores.blocking, KEYS)) == (only_ours, 1)


def test_a_write_that_did_not_reach_the_framework_is_counted(stores):
    world, browser = World(stores.blocking, in_browser=False), Browser()
    browser.take(run(Service(world, "lead").handle(browser.cookies, login)))
    world.legacy_away = True
    browser.take(run(Service(world, "lead").handle(browser.cookies, lambda values: values.update(a=1))))
    assert finish(count_only_ours(stores.blocking, KEYS)) == (1, 1)


def test_a_marker_is_nobodys_session(stores):
    world, browser = World(stores.blocking, in_browser=False), Browser()
    browser.take(run(Service(world, "mirror").handle(browser.cookies, lambda values: values.update(a=1))))
    browser.take(run(Service(world, "mirror").handle(browser.cookies, login)))
    assert finish(count_only_ours(stores.blocking, KEYS)) == (0, 1)


def needed(*arguments, **tally):
    seen = {name.replace("_on", ":"): Seen(1, NOW - ago) for name, ago in tally.items()}
    return [need.text for need in judge_removal(arguments[0], seen, arguments[1], arguments[2], now=NOW) if need.needed]


def test_removal_is_safe_at_mirror_once_nothing_is_only_ours():
    assert needed("mirror", 0, 5, step_onlead=3600) == []


@pytest.mark.parametrize(
    ("arguments", "tally"),
    [
        (("mirror", 1, 5), {}),
        (("mirror", None, 0), {}),
        (("mirror", 0, 5), {"step_onlead": 5}),
        (("mirror", 0, 5), {"step_onfinal": 5}),
        (("lead", 0, 5), {}),
        (("final", 0, 5), {}),
        (("off", 5, 5), {}),
    ],
)
def test_removal_is_not_safe(arguments, tally):
    assert needed(*arguments, **tally)


@pytest.mark.parametrize(
    ("step", "event"),
    [("mirror", "refused"), ("lead", "legacy"), ("lead", "ended"), ("final", "adopt"), ("final", "alone")],
)
def test_the_next_step_waits_for_what_happened_today(step, event):
    tally = {f"step:{step}": Seen(9, NOW - 2), event: Seen(3, NOW - 60)}
    found = judge_step(step, tally, now=NOW)
    assert found.needed
    assert "3 so far, the last 1 min ago" in found.text
    assert not judge_step(step, {**tally, event: Seen(3, NOW - 2 * 86_400)}, now=NOW).needed
    assert judge_step(step, {}, now=NOW).needed


@pytest.mark.parametrize(("step", "said"), [("lead", ""), ("final", "keep the name of its cookie: see `Adopting`")])
def test_leaving_final_asks_for_the_cookies_name(step, said):
    assert judge_step(step, {f"step:{step}": Seen(9, NOW - 2)}, now=NOW).mend == said


def test_the_tally_of_two_workers_is_the_fleets(stores):
    first, second = Tally(KEYS, "mirror"), Tally(KEYS, "mirror")
    first.count("adopt")
    second.count("adopt")
    for tally in (first, second, first):
        tally.applied(finish(stores.blocking.ask(*tally.calls())))
    seen = finish(read_tally(stores.blocking, KEYS))
    assert seen["adopt"].count == 2
    assert seen["step:mirror"].count == 3
    assert "legacy" not in seen


def test_the_command(stores, engine, monkeypatch, capsys):
    monkeypatch.setenv("ZDD_REDIS_URL", engine.url)
    monkeypatch.setenv("ZDD_SERVICE", "test")
    monkeypatch.setenv("ZDD_ENVIRONMENT", "test")
    monkeypatch.setenv("ZDD_SESSIONS_ADOPT", "mirror")
    world = World(stores.blocking, in_browser=False)
    live(world, "lead", "final")
    assert main(["uninstall", "--check", "--json"]) == 1
    assert any("1 of 1 sessions" in need["text"] for need in json.loads(capsys.readouterr().out))
    engine.recover()
    live(world, "mirror")
    assert main(["uninstall", "--check"]) == 0
    assert "✗" not in capsys.readouterr().out


def test_the_command_does_not_guess_while_redis_is_away(monkeypatch, capsys):
    monkeypatch.setenv("ZDD_REDIS_URL", "redis://127.0.0.1:1")
    assert main(["uninstall", "--check"]) == 1
    assert "Redis is away" in capsys.readouterr().out


def test_doctor_names_the_step(stores, engine, monkeypatch, capsys):
    monkeypatch.setenv("ZDD_REDIS_URL", engine.url)
    monkeypatch.setenv("ZDD_SERVICE", "test")
    monkeypatch.setenv("ZDD_ENVIRONMENT", "test")
    monkeypatch.setenv("ZDD_SESSIONS_ADOPT", "lead")
    tally = Tally(KEYS, "lead")
    tally.count("legacy")
    finish(stores.blocking.ask(*tally.calls()))
    main(["doctor"])
    assert (
        "sessions.adopt = lead; within a day: sessions written by a release without the SDK" in capsys.readouterr().out
    )
