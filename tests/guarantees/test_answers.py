"""Guarantees 6 to 8 and the trips: what is saved when, what an answer carries, limits, and what it all costs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.guarantees.play import Play
from tests.guarantees.stacks import Browser


def test_it_is_saved_before_the_answers_head_leaves(play: Play) -> None:
    browser = play.browser(a="1")
    other, seen = browser.tab(), []

    def look() -> None:
        seen.append(play.wire.ask("HEXISTS", play.key, "a:b"))

    assert browser.post("put", name="b", value="1", on_head=look).status == 200
    assert (seen, other.fields) == ([1], {"a": "1", "b": "1"})


def test_a_stream_is_saved_before_its_first_byte(play: Play) -> None:
    browser = play.browser(a="1")
    seen: list[Any] = []
    answer = browser.post("stream", name="b", value="1", on_head=lambda: seen.append(play.wire.ask("HLEN", play.key)))
    before = play.wire.ask("HLEN", play.key)
    assert (answer.json, seen) == ({"streamed": True}, [before])
    assert browser.fields == {"a": "1", "b": "1"}


@pytest.mark.parametrize(("status", "kept"), [(500, False), (503, False), (404, True), (409, True)])
def test_a_5xx_saves_nothing_and_a_4xx_saves(play: Play, status: int, kept: bool) -> None:
    browser = play.browser(a="1")
    assert browser.post("fail", name="b", value="1", status=status).status == status
    assert ("b" in browser.fields) is kept


def test_a_5xx_that_begins_a_session_sets_no_cookie(play: Play) -> None:
    assert play.browser().post("fail", name="b", value="1", status=500).cookies == []


def test_a_5xx_saves_if_told_so(play: Play) -> None:
    play.serve(sessions={"save_on_error": True})
    browser = play.browser(a="1")
    browser.post("fail", name="b", value="1", status=500)
    assert browser.fields == {"a": "1", "b": "1"}


def words(answer: Any, name: str) -> set[str]:
    return {word.strip().lower() for value in answer.values(name) for word in value.split(",")}


def test_what_read_the_session_varies_and_what_sets_the_cookie_is_not_stored(play: Play) -> None:
    browser = play.browser()
    plain = browser.get("plain")
    assert ("cookie" in words(plain, "vary"), words(plain, "cache-control")) == (False, set())
    for answer in (browser.post("put", name="a", value="1"), browser.post("login", user="ada"), browser.post("logout")):
        assert len(answer.cookies) == 1
        assert "no-store" in words(answer, "cache-control")
    read = play.browser(a="1").get("see")
    assert ("cookie" in words(read, "vary"), "no-store" in words(read, "cache-control")) == (True, False)


@pytest.mark.parametrize(("fields", "size"), [(1, 70_000), (5, 60_000)], ids=["field", "session"])
def test_what_is_too_large_is_a_typed_error_and_saves_nothing(play: Play, fields: int, size: int) -> None:
    browser = play.browser(a="1")
    answer = browser.post("big", fields=fields, size=size)
    assert (answer.status, answer.problem, answer.cookies) == (413, "urn:zdd:session-too-large", [])
    assert browser.fields == {"a": "1"}
    assert browser.post("big", fields=1, size=40_000).status == 200
    assert play.stack.zdd.sessions.counters["large"] == 1


def test_trips(play: Play) -> None:
    for warm in (play.logged_in(a="1"), play.browser(a="1")):
        warm.post("put", name="a", value="2")
        warm.post("login", user="ada")
        warm.post("logout")
    browser = play.browser()
    assert [play.trips(lambda path=path: browser.get(path)) for path in ("plain", "see")] == [0, 0], "a stranger"
    assert play.trips(lambda: browser.post("put", name="a", value="1")) == 1, "create"
    assert play.trips(lambda: browser.get("plain")) == 0, "untouched"
    assert play.trips(lambda: browser.get("see")) == 1, "read"
    assert play.trips(lambda: browser.post("put", name="a", value="2")) == 2, "read and write"
    assert play.trips(lambda: browser.post("merge", operation="add", name="n", value=1)) == 2, "a merge nobody meets"
    assert play.trips(lambda: browser.post("login", user="ada")) == 2, "login"
    assert play.trips(lambda: browser.post("rotate")) == 2, "rotation"
    assert play.trips(lambda: browser.get("devices")) == 2, "the load, and one to list"
    assert play.trips(lambda: browser.post("everywhere")) == 2, "the load, and one to end them all"
    assert play.trips(lambda: browser.post("logout")) == 1, "logout"


def test_trips_of_a_periodic_rotation(play: Play) -> None:
    stack = play.serve(sessions={"rotate_every": "1h"})
    stack.zdd.sessions._can_rotate = lambda: True
    counted = []
    for _ in range(2):
        browser: Browser = play.logged_in(a="1")
        play.wire.ask("HINCRBY", play.key, "_c", -7_200_000)
        if play.wire.ask("HEXISTS", play.key, "_r"):
            play.wire.ask("HINCRBY", play.key, "_r", -7_200_000)
        before = browser.cookie
        counted.append(play.trips(lambda: browser.get("see")))  # noqa: B023 - called at once
        assert browser.cookie != before
        browser.post("logout")
    assert counted[-1] == 2, "one more than any read: before the answer tells of it, the session is asked for again"


def test_what_is_counted(play: Play) -> None:
    browser = play.logged_in(a="1")
    counters = play.stack.zdd.sessions.counters
    before = dict(counters)
    slow = play.slow(browser, name="b", value="1")
    browser.post("put", name="c", value="1")
    slow.end()
    assert counters["conflicts"] == before["conflicts"] + 1
    slow = play.slow(browser, name="b", value="2")
    browser.post("logout")
    slow.end()
    assert counters["gone"] == before["gone"] + 1
    assert counters["trips"] > before["trips"]
    assert counters["read_bytes"] > before["read_bytes"]
    assert counters["written_bytes"] > before["written_bytes"]
