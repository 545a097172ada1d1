"""Guarantees 1 and 2 as races: no update is lost, and what has ended stays ended."""

from __future__ import annotations

import pytest

from tests.guarantees.play import Play


def test_two_requests_that_change_different_fields_both_count(play: Play) -> None:
    browser = play.browser(first="1")
    slow = play.slow(browser, name="theirs", value="2")
    browser.post("put", name="ours", value="3")
    assert slow.end().status == 200
    assert browser.fields == {"first": "1", "theirs": "2", "ours": "3"}


def test_twenty_requests_that_change_a_field_each_all_count(play: Play) -> None:
    browser = play.browser(first="1")
    answers = play.together(*(lambda n=n: browser.tab().post("put", name=f"f{n}", value=n) for n in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert browser.fields == {"first": "1", **{f"f{n}": str(n) for n in range(20)}}


def test_a_slow_request_that_only_reads_overwrites_nothing(play: Play) -> None:
    browser = play.browser(a="1")
    slow = play.slow(browser)
    browser.post("put", name="a", value="2")
    slow.end()
    assert browser.fields == {"a": "2"}


def test_changes_inside_values_are_noticed_and_both_count(play: Play) -> None:
    browser = play.browser()
    browser.post("nest", name="a")
    browser.post("nest", name="b")
    slow = play.slow(browser, inside="a", value="1")
    assert browser.post("inside", name="b", value="2").status == 200
    assert slow.end().status == 200
    assert browser.fields == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(("operation", "of"), [("add", sum), ("union", set), ("append", sorted)])
def test_changes_that_merge_are_exact_under_twenty_at_once(play: Play, operation: str, of) -> None:
    browser = play.browser(first="1")
    request = lambda n: browser.tab().post("merge", operation=operation, name="x", value=n)  # noqa: E731
    answers = play.together(*(lambda n=n: request(n) for n in range(20)))
    assert {answer.status for answer in answers} == {200}
    found = browser.get("field", name="x").json["value"]
    wanted = of(range(20)) if operation == "add" else of(str(n) for n in range(20))
    assert wanted == (found if operation == "add" else of(found))


def test_compare_and_set_is_a_typed_conflict_and_saves_nothing(play: Play) -> None:
    browser = play.browser(state="open", other="1")
    slow = play.slow(browser, "merge", operation="compare_and_set", name="state", expected="open", value="late")
    first = browser.post("merge", operation="compare_and_set", name="state", expected="open", value="taken")
    assert first.status == 200
    answer = slow.end()
    assert (answer.status, answer.problem) == (409, "urn:zdd:session-conflict")
    assert browser.fields == {"state": "taken", "other": "1"}


def test_of_twenty_that_compare_and_set_one_wins(play: Play) -> None:
    browser = play.browser(first="1")
    request = lambda n: browser.tab().post("merge", operation="compare_and_set", name="seat", value=n)  # noqa: E731
    answers = play.together(*(lambda n=n: request(n) for n in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19


def test_a_slow_request_does_not_undo_a_logout(play: Play) -> None:
    browser = play.logged_in(a="1")
    stolen = browser.tab()
    slow = play.slow(browser, name="late", value="1")
    browser.post("logout")
    answer = slow.end()
    assert answer.status == play.stack.gone
    assert answer.cookies == []
    assert (stolen.user, stolen.fields, play.live) == (None, {}, [])


def test_a_slow_reader_does_not_undo_a_logout(play: Play) -> None:
    browser = play.logged_in(a="1")
    stolen = browser.tab()
    slow = play.slow(browser)
    browser.post("logout")
    answer = slow.end()
    assert (answer.status, answer.json["seen"], answer.cookies) == (200, {"a": "1"}, [])
    assert (stolen.user, stolen.fields, play.live) == (None, {}, [])


@pytest.mark.parametrize("out", ["logout", "everywhere"])
def test_a_rotation_does_not_undo_a_logout(play: Play, out: str) -> None:
    """Of the id before only the snapshot is left, until its grace ends; after log out everywhere not even that."""
    browser = play.logged_in(a="1")
    stolen = browser.tab()
    slow = play.slow(browser, name="late", value="1")
    browser.post("rotate")
    browser.post("put", name="b", value="1")
    browser.post(out)
    browser.post("logout")
    slow.end()
    assert (browser.user, play.live) == (None, [])
    assert stolen.state == (("ada", {"a": "1"}) if out == "logout" else (None, {}))
    assert stolen.post("put", name="a", value="2").status == (409 if out == "logout" else 200)
    assert stolen.user == ("ada" if out == "logout" else None)


@pytest.mark.parametrize("out", ["logout", "login"])
def test_a_logout_ends_what_another_request_has_given_a_new_id(play: Play, out: str) -> None:
    """It was sent with the id of before; the browser is left without the new one, so nobody could end that."""
    browser = play.logged_in(a="1")
    slow = play.slow(browser, out, user="bob")
    rotated = browser.tab()
    rotated.post("rotate")
    slow.end()
    assert (rotated.user, slow.tab.user) == (None, "bob" if out == "login" else None)
    assert len(play.live) == (1 if out == "login" else 0)


def test_an_explicit_save_of_a_session_that_has_ended_is_a_typed_answer(play: Play) -> None:
    browser = play.logged_in(a="1")
    stolen, slow = browser.tab(), play.slow(browser, "keep", name="late", value="1")
    browser.post("logout")
    answer = slow.end()
    assert (answer.status, answer.cookies) == (409 if play.stack.gone == 200 else play.stack.gone, [])
    assert (stolen.user, play.live) == (None, [])


@pytest.mark.parametrize(("setting", "status"), [("401", 401), ("409", 409)])
def test_a_request_whose_session_has_ended_can_be_told_so(play: Play, setting: str, status: int) -> None:
    play.serve(sessions={"on_gone": setting})
    browser = play.logged_in()
    slow = play.slow(browser, name="late", value="1")
    browser.post("logout")
    answer = slow.end()
    assert answer.status == (status if play.stack.gone == 200 else play.stack.gone), "Django's own answer is 400"
    assert answer.cookies == []


def test_logged_out_everywhere_stays_so(play: Play) -> None:
    phone, desk = play.browser(), play.browser()
    for browser, label in ((phone, "phone"), (desk, "desk")):
        browser.post("login", user="ada", label=label, headers={"user-agent": label})
    assert sorted(desk.get("devices").json["devices"]) == ["desk", "phone"]
    slow = play.slow(phone, name="late", value="1")
    assert desk.post("everywhere").json == {"ended": 1}
    assert slow.end().cookies == []
    assert (phone.user, desk.user) == (None, "ada")
    assert desk.get("devices").json["devices"] == ["desk"]
