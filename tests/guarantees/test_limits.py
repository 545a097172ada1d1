"""Limits that requests reach together: a typed answer for who comes too late, and nobody's data is lost."""

from __future__ import annotations

from tests.guarantees.play import Play

KIB = 1024


def test_what_several_requests_save_together_stays_within_the_limit(play: Play) -> None:
    browser, stranger = play.browser(a="1"), play.browser(secret="eve's")
    slow = [play.slow(browser, name=f"b{number}", value="x" * 60 * KIB) for number in range(6)]
    answers = [one.end() for one in slow]
    assert [answer.status for answer in answers] == [200] * 4 + [413] * 2
    for answer in answers[4:]:
        assert (answer.problem, answer.cookies) == ("urn:zdd:session-too-large", [])
        assert b"what other requests have saved" in answer.body
    assert set(browser.fields) == {"a", "b0", "b1", "b2", "b3"}
    assert browser.post("login", user="ada").status == 200
    assert (browser.user, len(browser.fields), stranger.fields) == ("ada", 5, {"secret": "eve's"})


def test_a_list_that_requests_let_grow_over_the_limit_together_is_whole(play: Play) -> None:
    browser = play.browser(a="1")
    browser.post("nest", name="log")
    slow = [play.slow(browser, "merge", operation="append", name="log", value=letter * 20_000) for letter in "abcde"]
    answers = [one.end() for one in slow]
    assert [answer.status for answer in answers] == [200] * 3 + [413] * 2
    assert {answer.problem for answer in answers[3:]} == {"urn:zdd:session-too-large"}
    assert [item[0] for item in browser.fields["log"]] == ["a", "b", "c"]


def test_1024_fields_and_a_name_of_4_kib(play: Play) -> None:
    browser = play.browser(a="1")
    assert browser.post("big", fields=1000, size=1).status == 200
    answer = browser.post("big", fields=1030, size=1)
    assert (answer.status, answer.problem) == (413, "urn:zdd:session-too-large")
    answer = browser.post("put", name="n" * 4 * KIB, value="1")
    assert (answer.status, answer.problem, answer.cookies) == (500, "urn:zdd:session-value", [])
    assert (len(browser.fields), browser.fields["a"]) == (1001, "1")
