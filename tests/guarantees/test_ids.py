"""Guarantees 3 and 7 as attacks: ids, rotations, and the cookie."""

from __future__ import annotations

import hashlib

import pytest

from tests.guarantees.play import Play
from tests.guarantees.stacks import Browser
from zdd_sdk.sessions.ids import mint_id, parse_id, random_tag

HOUR = 3_600_000
CROSS_SITE = {"origin": "https://pay.example", "sec-fetch-site": "cross-site"}


@pytest.mark.parametrize(
    "presented", ["attackerchosen", pytest.param(mint_id(random_tag()).text, id="well formed"), "../../etc", "x" * 5000]
)
def test_an_unknown_id_is_never_adopted(play: Play, presented: str) -> None:
    name = play.browser(a="1").cookie_name
    play.engine.flush()
    victim = play.browser()
    answer = victim.post("put", name="a", value="1", cookie=f"{name}={presented}")
    victim.learn(answer)
    assert victim.cookie != presented
    identity = parse_id(victim.cookie)
    assert identity is not None
    attacker = play.browser()
    attacker.jar = {name: presented}
    assert attacker.state == (None, {})
    assert hashlib.sha256(presented.encode()).hexdigest().encode() not in b" ".join(play.live)


def test_ids_are_stored_hashed(play: Play) -> None:
    browser = play.logged_in(a="1")
    everything = b" ".join(part for key in play.wire.ask("KEYS", "*") for part in (key, play.wire.ask("DUMP", key)))
    assert browser.cookie.rpartition(".")[2].encode() not in everything


def test_a_planted_id_sees_nothing_of_the_login(play: Play) -> None:
    attacker = play.browser(planted="1")
    victim = attacker.tab()
    victim.post("login", user="victim")
    victim.post("put", name="secret", value="1")
    assert victim.cookie != attacker.cookie
    assert attacker.state == (None, {"planted": "1"}), "the snapshot of before, for thirty seconds"
    answer = attacker.post("put", name="more", value="1")
    assert (answer.status, answer.cookies) == (409, [])
    assert victim.state == ("victim", {"planted": "1", "secret": "1"})


def test_a_new_id_after_a_change_of_privilege_leaves_the_old_one_behind(play: Play) -> None:
    browser = play.logged_in(a="1")
    old = browser.tab()
    browser.post("rotate")
    browser.post("put", name="secret", value="1")
    assert "secret" not in old.fields
    assert old.post("put", name="a", value="2").status == 409
    assert browser.state == ("ada", {"a": "1", "secret": "1"})


@pytest.mark.parametrize("path", ["rotate", "login"])
@pytest.mark.parametrize("used", [False, True])
def test_the_id_before_a_rotation_comes_back_only_if_nobody_has_used_the_new_one(
    play: Play, path: str, used: bool
) -> None:
    """The browser does not get the answer, or an attacker has kept the id; a login leaves none that comes back."""
    browser = play.logged_in(a="1") if path == "rotate" else play.browser(a="1")
    old, key = browser.tab(), play.key
    browser.post(path, user="ada")
    if used:
        assert browser.user == "ada"
    play.wire.ask("HSET", key, "_x", 1)  # the grace is over
    assert old.state == (("ada", {"a": "1"}) if path == "rotate" and not used else (None, {}))
    assert browser.user == "ada", "whoever has the new one stays logged in"
    assert old.state == (None, {})


def test_a_request_under_way_at_the_login_leaves_the_new_cookie_alone(play: Play) -> None:
    browser = play.browser(cart="full")
    slow, late = play.slow(browser, name="late", value="1"), browser.tab()
    browser.post("login", user="ada")
    assert slow.end().cookies == []
    for answer, status in ((late.get("see"), 200), (late.post("put", name="late", value="1"), 409)):
        assert (answer.status, answer.cookies) == (status, [])
    assert browser.state == ("ada", {"cart": "full"})


def test_a_save_of_before_the_login_that_is_answered_after_it_leaves_the_new_cookie_alone(play: Play) -> None:
    browser = play.browser(a="1")
    late = browser.tab().post("put", name="b", value="1")
    browser.post("login", user="ada")
    browser.learn(late)
    assert browser.user == "ada"


def test_what_another_request_saves_during_a_login_comes_along(play: Play) -> None:
    browser = play.browser(cart="full")
    answers = play.together(
        lambda: browser.post("login", user="ada"), *(lambda: browser.tab().post("keep", name="w", value="1"),) * 3
    )
    kept = [answer.status for answer in answers[1:]]
    assert set(kept) <= {200, 400, 409}, "a late one is refused, not lost"
    assert browser.state == ("ada", {"cart": "full", **({"w": "1"} if 200 in kept else {})})


def grow_old(play: Play) -> None:
    """Make the id of every session an hour older."""
    for key in play.live:
        for name in ("_c", "_r"):
            if value := play.wire.ask("HGET", key, name):
                play.wire.ask("HSET", key, name, int(value) - HOUR - 1)


@pytest.fixture
def rotating(play: Play) -> Browser:
    """A logged-in browser whose id is due, in a fleet that can follow."""
    stack = play.serve(sessions={"rotate_every": "1h"})
    stack.zdd.sessions._can_rotate = lambda: True
    browser = play.logged_in(a="1")
    grow_old(play)
    return browser


def test_parallel_requests_follow_one_periodic_rotation(play: Play, rotating: Browser) -> None:
    old = rotating.cookie
    tabs = [rotating.tab() for _ in range(10)]
    answers = play.together(
        *(lambda n=n, tab=tab: tab.post("put", name=f"f{n}", value=n) for n, tab in enumerate(tabs))
    )
    assert {answer.status for answer in answers} == {200}
    (new,) = {tab.cookie for tab in tabs}
    assert new != old
    assert rotating.state == ("ada", {"a": "1", **{f"f{n}": str(n) for n in range(10)}})
    assert rotating.cookie == new


def test_a_request_under_way_at_a_periodic_rotation_saves_and_is_told(play: Play, rotating: Browser) -> None:
    slow = play.slow(rotating, name="late", value="1")
    other = rotating.tab()
    assert other.state == ("ada", {"a": "1"})
    assert slow.end().status == 200
    assert other.fields == {"a": "1", "late": "1"}
    assert slow.tab.cookie == other.cookie


def test_what_a_rotation_points_to_is_out_of_reach_after_a_change_of_privilege(play: Play, rotating: Browser) -> None:
    attacker = rotating.tab()
    assert rotating.user == "ada"
    rotating.post("rotate")
    rotating.post("put", name="secret", value="1")
    answer = attacker.get("field", name="secret")
    assert (answer.status, answer.json["value"], answer.cookies) == (200, None, [])
    assert attacker.post("put", name="a", value="2").status == 409


def test_without_a_fleet_that_follows_nothing_rotates(play: Play, rotating: Browser) -> None:
    """The control of the three above."""
    play.stack.zdd.sessions._can_rotate = lambda: False
    before = rotating.cookie
    assert rotating.user == "ada"
    assert rotating.cookie == before


def test_the_cookie_is_safe(play: Play) -> None:
    (line,) = play.browser().post("put", name="a", value="1").cookies
    name, _, rest = line.partition("=")
    words = {word.strip().lower() for word in rest.split(";")[1:]}
    assert name.startswith("__Host-")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= words
    assert not any(word.startswith("domain") for word in words)


def test_every_cookie_of_our_name_is_tried(play: Play) -> None:
    browser = play.browser(a="1")
    ours, planted = (f"{browser.cookie_name}={value}" for value in (browser.cookie, mint_id(random_tag()).text))
    for order in ((planted, ours), (ours, planted), (f"{browser.cookie_name}=garbage", planted, ours)):
        assert browser.get("see", cookie="; ".join(order)).json["fields"] == {"a": "1"}


def test_a_cross_site_post_without_our_cookie_sets_none(play: Play) -> None:
    """A payment gateway sends the customer back; with SameSite=Lax the cookie stays at home."""
    customer = play.logged_in(cart="full")
    for path in ("put", "logout", "rotate"):
        answer = customer.post(path, name="paid", value="1", cookie="other=1", headers=CROSS_SITE)
        assert (answer.status, answer.cookies) == (200, []), path
    refused = customer.post("login", user="eve", cookie="other=1", headers=CROSS_SITE)
    assert (refused.status, refused.cookies) == (403, [])
    assert customer.state == ("ada", {"cart": "full"})
    own = customer.post("put", name="a", value="1", cookie="other=1", headers={"sec-fetch-site": "same-origin"})
    assert len(own.cookies) == 1, "control"


@pytest.mark.parametrize("path", ["put", "login"])
def test_only_a_logout_that_redis_has_confirmed_deletes_the_cookie(play: Play, path: str) -> None:
    browser = play.logged_in(a="1")
    for answer in (browser.get("see"), browser.post(path, name="a", value="2", user="ada"), browser.get("plain")):
        assert not [line for line in answer.cookies if "max-age=0" in line.lower()]
    (line,) = browser.post("logout").cookies
    assert "max-age=0" in line.lower()
    assert browser.jar == {}
