"""Guarantee 5: Redis refuses, freezes, dies, comes back empty, or is another one for a minute."""

from __future__ import annotations

import pytest

from tests.guarantees.play import Play
from tests.guarantees.stacks import Answer, Browser

FAST = {"connect_timeout": 0.5, "operation_timeout": 0.5, "total_timeout": 1.0}


def check_away(answer: Answer) -> None:
    assert answer.status == 503, answer
    assert answer.values("content-type") == ["application/problem+json"]
    assert answer.problem == "urn:zdd:session-unavailable"
    (after,) = answer.values("retry-after")
    assert int(after) >= 1
    assert answer.cookies == []


def check_503_where_the_session_is_needed(play: Play, browser: Browser) -> None:
    """Every route that uses the session says so, the others do not notice; the cookie stays."""
    before = dict(browser.jar)
    check_away(browser.get("see"))
    check_away(browser.post("put", name="a", value="2"))
    check_away(browser.post("login", user="eve"))
    check_away(browser.post("logout"))
    for path in ("plain", "readyz", "livez"):
        assert play.browser().get("plain" if play.stack.zdd is None else path).status == 200
    assert browser.get("plain").status == 200
    assert browser.jar == before


@pytest.mark.parametrize("fault", ["refuse", "pause"])
def test_redis_away_is_503_where_the_session_is_needed_and_logs_nobody_out(play: Play, fault: str) -> None:
    play.serve(store=FAST)
    browser = play.logged_in(a="1")
    getattr(play.tap, fault)()
    check_503_where_the_session_is_needed(play, browser)
    play.tap.heal()
    assert play.eventually(lambda: browser.get("see")).json == {"user": "ada", "fields": {"a": "1"}}


def test_redis_killed_and_started_again_empty_takes_no_cookie_until_there_is_something_to_save(play: Play) -> None:
    play.serve(store=FAST)
    browser = play.logged_in(a="1")
    before = browser.cookie
    play.engine.kill()
    check_away(browser.get("see"))
    play.engine.restart()
    answer = play.eventually(lambda: browser.get("see"))
    assert (answer.json, answer.cookies) == ({"user": None, "fields": {}}, [])
    assert browser.cookie == before
    assert browser.post("put", name="b", value="2").status == 200
    assert browser.cookie != before, "a new id, never the unknown one"
    assert browser.state == (None, {"b": "2"})


def test_another_redis_for_a_minute_logs_nobody_out(play: Play) -> None:
    browser = play.logged_in(a="1")
    keys = play.wire.ask("KEYS", "*")
    kept = {key: play.wire.ask("DUMP", key) for key in keys}
    play.engine.flush()
    for _ in range(3):
        assert browser.state == (None, {})
    for key, data in kept.items():
        play.wire.ask("RESTORE", key, 0, data)
    assert browser.state == ("ada", {"a": "1"})


def test_changes_that_redis_did_not_keep_leave_the_answer_and_a_login_does_not(play: Play) -> None:
    """Redis goes away between load and save."""
    play.serve(store=FAST)
    browser = play.browser(a="1")
    before = browser.state
    slow, login = play.slow(browser, name="b", value="1"), play.slow(browser, "login", user="ada")
    play.tap.refuse()
    answer = slow.end()
    assert (answer.status, answer.cookies) == (200, [])
    check_away(login.end())
    play.tap.heal()
    assert play.eventually(lambda: browser.get("see")).status == 200
    assert browser.state == before


@pytest.mark.parametrize("path", ["login", "logout", "keep"])
def test_an_answer_of_redis_that_is_lost_on_its_way_counts_once(play: Play, path: str) -> None:
    browser = play.logged_in(a="1")
    slow = play.slow(browser, path, user="ada", name="b", value="1")
    play.tap.drop_replies(1)
    assert slow.end().status == 200
    browser.jar = slow.tab.jar
    assert browser.user == (None if path == "logout" else "ada")
    assert len(play.live) == (0 if path == "logout" else 1)


def test_a_rotation_that_redis_carries_out_and_never_answers_logs_nobody_out(play: Play) -> None:
    play.serve(store=FAST)
    browser = play.logged_in(a="1")
    key = play.key
    slow = play.slow(browser, "rotate")
    play.engine.pause()
    assert slow.end().status < 500
    play.engine.resume()
    browser.jar = slow.tab.jar
    assert play.eventually(lambda: browser.get("see")).status == 200
    assert play.wire.ask("HEXISTS", key, "_k"), "it was carried out"
    play.wire.ask("HSET", key, "_x", 1)  # the grace is over
    assert browser.state == ("ada", {"a": "1"})
    assert browser.post("put", name="b", value="1").status == 200
    assert browser.state == ("ada", {"a": "1", "b": "1"})


@pytest.mark.parametrize("policy", ["anonymous", "stale"])
def test_the_other_policies_leave_the_cookie_alone_and_let_nobody_in(play: Play, policy: str) -> None:
    play.serve(store=FAST, sessions={"on_unavailable": policy})
    browser = play.logged_in(a="1")
    assert browser.user == "ada"
    before = dict(browser.jar)
    play.tap.refuse()
    answer = browser.get("see")
    assert answer.json == {
        "user": "ada" if policy == "stale" else None,
        "fields": {"a": "1"} if policy == "stale" else {},
    }
    changed = browser.post("put", name="a", value="2")
    assert changed.status == (409 if policy == "stale" else 200)
    assert browser.post("login", user="eve").status == 503
    assert browser.jar == before
    play.tap.heal()
    assert play.eventually(lambda: browser.post("keep", name="b", value="1")).status == 200
    assert browser.state == ("ada", {"a": "1", "b": "1"})
