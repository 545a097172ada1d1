"""What may lie under a key's name: records of newer releases, garbage, other types. Nothing of it is written over."""

from __future__ import annotations

import pytest

from tests.flows.idempotency.conftest import DAY, NAME, OTHER, SAME, make_calls, token
from zdd_sdk.errors import StoreReplyError
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.model import Mismatch, Newer, Owned, Refused, Replay, Unknown
from zdd_sdk.store import finish

CALLS = make_calls()
ANSWER = StoredAnswer(201, (("location", "/orders/1"),), b"x" * 2000)
MINE = token(1)


def claim(number=1, fingerprints=SAME, effects="db", **said):
    return CALLS.claim(NAME, token(number), fingerprints, effects, "pay", retention=DAY, **said)


def everything(generation=1):
    """Every call that could change a record, with the token that holds it."""
    again = CALLS.request(MINE, SAME, "db", "pay", retention=DAY)
    return {
        "claim": claim(),
        "claim of another": claim(2, take_unknown=True),
        "renew": CALLS.renew(NAME, MINE),
        "checkpoint": CALLS.checkpoint(NAME, MINE, "charged"),
        "complete": CALLS.complete(NAME, MINE, ANSWER, restore=again),
        "release": CALLS.release(NAME, MINE),
        "hold": CALLS.hold(NAME, MINE, "failed"),
        "handoff": CALLS.handoff(NAME, MINE),
        "resolve": CALLS.resolve(NAME, generation, None, "ada"),
        "resolve as done": CALLS.resolve(NAME, generation, ANSWER, "ada"),
    }


GARBAGE = {
    "version 2": {"v": "2"},
    "no version": {"v": None},
    "version 1.5": {"v": "1.5"},
    "unknown state": {"st": "X"},
    "no state": {"st": None},
    "unknown effects": {"eff": "z"},
    "no fingerprint": {"fp": None},
    "no token": {"tok": None},
    "generation in words": {"gen": "one"},
    "generation too exact": {"gen": "1" * 16},
    "negative end": {"end": "-1"},
    "no first time": {"t0": ""},
    "lease in hex": {"lu": "0x10"},
    "fractional length": {"len": "1.5"},
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_cannot_be_read_is_never_written_over(ask, place, name):
    owned = ask(claim())
    place.lapse()
    for field, value in GARBAGE[name].items():
        place.wire.ask("HDEL", place.record, field)
        if value is not None:
            place.set(**{field: value})
    before, version = place.dump(), place.fields().get(b"v", b"").decode()
    results = {what: ask(call) for what, call in everything(owned.generation).items()}
    assert {what: result for what, result in results.items() if what.startswith("claim")} == {
        "claim": Newer(version),
        "claim of another": Newer(version),
    }
    assert not any(result for what, result in results.items() if not what.startswith("claim"))
    assert place.dump() == before
    assert ask(CALLS.show(NAME)).record == Newer(version)


def test_control_the_same_record_unspoilt_is_written(ask, place):
    owned = ask(claim())
    place.lapse()
    before = place.dump()
    assert isinstance(ask(claim(2)), Owned)
    assert place.dump() != before
    assert owned.taken is None


@pytest.mark.parametrize("command", [("SET", "text"), ("RPUSH", "one"), ("SADD", "one")])
def test_another_type_is_refused_and_stays(ask, place, command):
    place.wire.ask(command[0], place.record, *command[1:])
    before = place.dump()
    for what, call in everything().items():
        if what.startswith("claim"):
            assert "WRONGTYPE" in ask(call).message
        else:
            with pytest.raises(StoreReplyError, match="WRONGTYPE"):
                ask(call)
    with pytest.raises(StoreReplyError, match="WRONGTYPE"):
        ask(CALLS.show(NAME))
    assert place.dump() == before


def test_a_refusal_hides_no_other_call_of_the_trip(stores, place):
    place.wire.ask("SET", place.record, "text")
    other = CALLS.claim("o" * 43, MINE, SAME, "db", "pay", retention=DAY)
    refused, owned = finish(stores.blocking.ask(claim(), other))
    assert isinstance(refused, Refused)
    assert isinstance(owned, Owned)


def test_a_body_of_another_type_is_one_that_is_not_kept(ask, place):
    ask(claim())
    assert ask(CALLS.complete(NAME, MINE, StoredAnswer(200, (), bytes(range(256)) * 3)))
    place.wire.ask("DEL", place.body)
    place.wire.ask("RPUSH", place.body, "one")
    assert ask(claim(2)).answer is None


@pytest.mark.parametrize("header", [b"\x02\x00", b"\x01\x01"], ids=["a newer format", "encrypted"])
def test_an_answer_that_a_newer_release_wrote_is_not_absent(ask, place, header):
    ask(claim())
    ask(CALLS.complete(NAME, MINE, StoredAnswer(204)))
    place.set(a0=header + place.fields()[b"a0"][2:])
    assert isinstance(ask(claim(2)), Newer)


def test_an_answer_in_ruins_is_one_that_was_not_kept(ask, place):
    ask(claim())
    ask(CALLS.complete(NAME, MINE, StoredAnswer(204)))
    place.set(a0=b"\x01\x00ruins")
    verdict = ask(claim(2))
    assert isinstance(verdict, Replay)
    assert verdict.answer is None


@pytest.mark.parametrize("state", ["running", "lapsed", "unknown", "completed"])
def test_another_request_never_gets_the_key(ask, place, state):
    ask(claim())
    if state == "completed":
        ask(CALLS.complete(NAME, MINE, ANSWER))
    if state == "unknown":
        ask(CALLS.hold(NAME, MINE, "failed"))
    if state == "lapsed":
        place.lapse()
    before = place.dump()
    assert ask(claim(2, OTHER, take_unknown=True)) == Mismatch()
    assert ask(claim(2, ("s9.kid1.same",), take_unknown=True)) == Mismatch()
    assert place.dump() == before
    assert not isinstance(ask(claim(2)), Mismatch)


def test_fingerprints_of_two_releases_meet(ask, place):
    """Release N hashes everything; N+1 selects fields, and still says what N would; then N is gone, and N+2 comes."""
    ask(claim(1, ("j1.kid1.a",)))
    place.lapse()
    assert isinstance(ask(claim(2, ("s1.kid1.b", "j1.kid1.a"))), Owned)
    place.lapse()
    assert isinstance(ask(claim(3, ("t1.kid1.c", "s1.kid1.b"))), Owned)
    assert place.read().fingerprints == "j1.kid1.a s1.kid1.b t1.kid1.c"
    place.lapse()
    assert ask(claim(4, ("t1.kid1.d", "s1.kid1.e"))) == Mismatch()


def test_a_body_left_over_is_never_anothers(ask, place):
    """A record that was evicted may leave its body behind; the next answer takes its place, or removes it."""
    ask(claim())
    ask(CALLS.complete(NAME, MINE, StoredAnswer(200, (), bytes(range(256)) * 3)))
    place.wire.ask("DEL", place.record)
    ask(claim(2))
    ask(CALLS.complete(NAME, token(2), StoredAnswer(200, (), b"small")))
    assert place.wire.ask("EXISTS", place.body) == 0
    assert ask(claim(3)).answer.body == b"small"


def test_unknown_is_not_taken_by_who_has_no_fence(ask, place):
    ask(claim(effects="unsafe"))
    place.lapse()
    assert isinstance(ask(claim(2, effects="unsafe")), Unknown)
    assert isinstance(ask(claim(2, effects="db")), Unknown)
    assert isinstance(ask(claim(2, effects="unsafe", take_unknown=True)), Owned)
