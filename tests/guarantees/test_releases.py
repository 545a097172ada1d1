"""Guarantee 4: two releases, rolling and back, share every session."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.guarantees.play import Play
from zdd_sdk.sessions.codec import encode
from zdd_sdk.store.record import frame

NEWER = frame(b"\x63\x00later", format=99)


def test_what_a_newer_release_wrote_is_kept_by_saves_and_logins(play: Play) -> None:
    browser = play.browser(a="1")
    play.wire.ask("HSET", play.key, "a:future", NEWER, "z", "a field of a later layout")
    assert browser.post("put", name="a", value="2").status == 200
    assert browser.post("login", user="ada").status == 200
    assert browser.post("rotate").status == 200
    assert play.wire.ask("HMGET", play.key, "a:future", "z") == [NEWER, b"a field of a later layout"]
    assert browser.get("field", name="a").json == {"value": "2"}


@pytest.mark.parametrize("data", [NEWER, b"\x80\x04pickle", b""], ids=["newer", "pickle", "empty"])
def test_an_undecodable_field_raises_only_where_it_is_read(play: Play, data: bytes) -> None:
    browser = play.logged_in(a="1")
    play.wire.ask("HSET", play.key, "a:theirs", data)
    assert browser.get("field", name="a").json == {"value": "1"}
    assert browser.post("put", name="a", value="2").status == 200
    answer = browser.get("field", name="theirs")
    assert (answer.status, answer.cookies) == (500, [])
    assert answer.values("content-type") == ["application/problem+json"]
    assert play.wire.ask("HGET", play.key, "a:theirs") == data
    assert browser.get("field", name="a").json == {"value": "2"}
    assert sum(play.stack.zdd.sessions.counters["undecodable"].values()) == 1
    assert browser.post("put", name="theirs", value="meant").status == 200
    assert browser.fields == {"a": "2", "theirs": "meant"}


class _Payload:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> object:
        return Path.touch, (self._path,)


def test_pickled_bytes_in_redis_run_nothing(play: Play, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    payload = pickle.dumps(_Payload(trace))
    pickle.loads(payload)
    assert trace.exists(), "control: it would run"
    trace.unlink()
    browser = play.browser(a="1")
    for data in (payload, frame(payload), frame(b"\x01\x00" + payload)):
        play.wire.ask("HSET", play.key, "a:theirs", data)
        assert browser.get("field", name="theirs").status == 500
    assert not trace.exists()


def test_two_releases_alternate_on_one_session(play: Play) -> None:
    browser = play.logged_in(first="1")
    for number, version in enumerate(("2", "1", "2")):
        play.serve(release={"version": version})
        browser.stack = play.stack
        browser.post("put", name=f"of{version}", value=number)
    assert browser.state == ("ada", {"first": "1", "of2": "2", "of1": "1"})
    assert play.wire.ask("HGET", play.key, "_w") is not None


def test_a_session_for_newer_readers_only_is_left_alone(play: Play) -> None:
    browser = play.browser(a="1")
    play.wire.ask("HSET", play.key, "_n", 99)
    before = play.wire.ask("HGETALL", play.key)
    for answer in (browser.get("see"), browser.post("put", name="a", value="2")):
        assert (answer.status, answer.cookies) == (500, [])
    assert play.wire.ask("HGETALL", play.key) == before


def test_the_service_is_renamed_without_a_logout(play: Play) -> None:
    browser = play.logged_in(a="1")
    for service, other in (("shop", "store/test"), ("store", "shop/test"), ("shop", "store/test")):
        browser.stack = play.serve(service=service, sessions={"also_read_keys": (other,)})
        assert browser.state == ("ada", {"a": "1"})
        browser.post("rotate")
        assert play.key.startswith(f"zdd:{service}:".encode())
    browser.stack = play.serve(service="store")
    assert browser.user is None, "control: in a single step it logs out"


def test_with_encryption_redis_holds_no_word(play: Play) -> None:
    browser = play.browser(plain="legible")
    assert any(b"legible" in value for value in play.wire.ask("HGETALL", play.key)), "control"
    browser.stack = play.serve(sessions={"encrypt": "on"})
    browser.post("put", name="hidden", value="unseen")
    browser.post("login", user="ada")
    assert not any(b"unseen" in value for value in play.wire.ask("HGETALL", play.key))
    browser.stack = play.serve()
    assert browser.state == ("ada", {"plain": "legible", "hidden": "unseen"}), "every release reads both"


def test_the_bytes_are_those_of_every_framework(play: Play) -> None:
    play.browser(a="1")
    assert play.wire.ask("HGET", play.key, "a:a") == encode("1")
