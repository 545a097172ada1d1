"""What the transitions alone do not show: times to live, sizes, trips, races, and the list of what is open."""

from __future__ import annotations

import os
import time

import pytest

from tests.flows.idempotency.conftest import DAY, NAME, SAME, Place, make_calls, token
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.model import Busy, Holder, Owned, Replay, Unknown
from zdd_sdk.store.wire import Wire

CALLS, NEXT = make_calls("web-1", "1.0"), make_calls("web-2", "1.1")
MINE = token(1)
LARGE = StoredAnswer(200, (("content-type", "application/pdf"),), os.urandom(5000))
MINUTE = 60_000


def claim(number=1, calls=CALLS, effects="external", retention=DAY, **said):
    return calls.claim(NAME, token(number), SAME, effects, "orders.create", retention=retention, **said)


def left(place):
    return place.wire.ask("PTTL", place.record), place.wire.ask("PTTL", place.body)


def near(milliseconds, seconds):
    return seconds * 1000 - MINUTE < milliseconds <= seconds * 1000


def test_the_record_outlives_the_lease_and_the_body_does_not_outlive_its_own_time(ask, place):
    ask(claim())
    assert near(left(place)[0], DAY)
    ask(CALLS.complete(NAME, MINE, LARGE, 900))
    assert near(left(place)[0], DAY)
    assert near(left(place)[1], 900)


def test_a_body_goes_with_its_record_at_the_latest(ask, place):
    ask(claim(retention=600))
    ask(CALLS.complete(NAME, MINE, LARGE, 10 * DAY))
    assert near(left(place)[1], 600)


def test_a_retention_below_the_lease_is_the_lease(ask, place):
    ask(claim(retention=0.001))
    assert near(left(place)[0], 15)
    place.wire.ask("PEXPIRE", place.record, 5000)
    place.set(end=place.read().first + 5000)
    ask(CALLS.renew(NAME, MINE))
    assert left(place)[0] > 5000


def test_without_its_body_a_large_answer_is_known_to_have_been_given(ask, place):
    ask(claim())
    ask(CALLS.complete(NAME, MINE, LARGE))
    assert ask(claim(2, NEXT)).answer == LARGE
    place.wire.ask("DEL", place.body)
    verdict = ask(claim(2, NEXT))
    assert isinstance(verdict, Replay)
    assert (verdict.answer, verdict.release) == (None, "1.0")


def test_fifty_claims_at_once_make_one_owner(flow):
    claims = [flow.store.ask(claim(number, retention=DAY)) for number in range(50)]
    verdicts = [verdict for (verdict,) in flow.gather(*claims)]
    assert sum(isinstance(verdict, Owned) for verdict in verdicts) == 1
    assert sum(isinstance(verdict, Busy) for verdict in verdicts) == 49


def test_a_first_run_takes_two_trips_and_a_replay_one(flow, tap):
    flow(flow.store.ask(claim(3), CALLS.purge(NAME)))
    counted = tap.trips
    flow(flow.store.ask(CALLS.opened(NAME, DAY), claim()))
    flow(flow.store.ask(CALLS.complete(NAME, MINE, LARGE), CALLS.closed(NAME)))
    assert tap.trips - counted == 2
    flow(flow.store.ask(claim(2)))
    assert tap.trips - counted == 3


def test_who_drains_hands_over_at_once_and_cannot_take_it_back(ask, place):
    ask(claim())
    assert isinstance(ask(claim(2, NEXT)), Busy)
    assert ask(CALLS.handoff(NAME, MINE))
    assert not ask(CALLS.renew(NAME, MINE))
    taken = ask(claim(2, NEXT))
    assert taken.taken == Holder("web-1", "1.0")
    assert not ask(CALLS.complete(NAME, MINE, LARGE))
    assert place.read().holder == Holder("web-2", "1.1")


def test_control_a_lease_that_only_ends_now_is_brought_back_by_a_late_pulse(ask, place):
    """Why handing over writes 0 and not the time."""
    ask(claim())
    place.set(lu=place.read().lease - 15_000)
    assert ask(CALLS.renew(NAME, MINE))
    assert isinstance(ask(claim(2, NEXT)), Busy)


def test_who_is_late_but_not_overtaken_keeps_the_key(ask, place):
    ask(claim(effects="unsafe"))
    place.lapse()
    assert ask(claim(2, NEXT, "unsafe")).fresh
    assert ask(CALLS.renew(NAME, MINE))
    assert isinstance(ask(claim(2, NEXT, "unsafe")), Busy)
    place.lapse()
    ask(claim(2, NEXT, "unsafe"))
    assert ask(CALLS.complete(NAME, MINE, LARGE))
    assert ask(claim(2, NEXT, "unsafe")).answer == LARGE


def test_generations_grow_across_a_release_and_a_flush(ask, place):
    one = ask(claim()).generation
    ask(CALLS.release(NAME, MINE))
    time.sleep(0.002)
    two = ask(claim(2)).generation
    place.lapse()
    three = ask(claim(3)).generation
    place.wire.ask("FLUSHALL")
    time.sleep(0.002)
    assert one < two < three < ask(claim(4)).generation


def test_a_run_that_redis_has_forgotten_is_remembered_when_it_completes(ask, place):
    ask(claim())
    place.wire.ask("FLUSHALL")
    assert not ask(CALLS.complete(NAME, MINE, LARGE))
    said = CALLS.request(MINE, SAME, "external", "orders.create", retention=DAY)
    assert ask(CALLS.complete(NAME, MINE, LARGE, restore=said))
    assert ask(claim(2)).answer == LARGE
    assert near(left(place)[0], DAY)


def test_nor_is_it_if_another_has_come_since(ask, place):
    ask(claim())
    place.wire.ask("FLUSHALL")
    ask(claim(2))
    said = CALLS.request(MINE, SAME, "external", "orders.create", retention=DAY)
    assert not ask(CALLS.complete(NAME, MINE, LARGE, restore=said))
    assert place.read().token == token(2)


def test_an_operator_finds_and_decides(ask, place):
    ask(CALLS.opened(NAME, DAY))
    owned = ask(claim(effects="unsafe"))
    ask(CALLS.hold(NAME, MINE, "failed-500"))
    assert ask(CALLS.list_open()) == [NAME]
    shown = ask(CALLS.show(NAME))
    assert (shown.record.state, shown.record.why) == ("U", "failed-500")
    assert near(shown.left, DAY)
    assert not ask(CALLS.resolve(NAME, owned.generation - 1, None, "ada"))
    assert ask(CALLS.resolve(NAME, owned.generation, LARGE, "ada"))
    assert not ask(CALLS.complete(NAME, MINE, StoredAnswer(204)))
    assert ask(claim(2, effects="unsafe")).answer == LARGE
    assert ask(CALLS.show(NAME)).body
    assert ask(CALLS.closed(NAME)) == 1
    assert ask(CALLS.list_open()) == []


def test_the_list_forgets_what_redis_has_forgotten(ask, wire):
    key = CALLS._open
    for number in range(150):
        wire.ask("ZADD", key, 1000 + number, f"gone-{number}")
    ask(CALLS.opened(NAME, DAY))
    ask(CALLS.opened(NAME, 2 * DAY))
    assert ask(CALLS.list_open()) == [NAME]
    score = int(wire.ask("ZSCORE", key, NAME))
    assert near(score - int(wire.ask("TIME")[0]) * 1000, DAY + 1)
    assert near(wire.ask("PTTL", key), 2 * DAY)


def test_the_list_comes_in_pages(ask, wire):
    for number in range(5):
        ask(CALLS.opened(f"{number}", DAY + 60 * number))
    assert ask(CALLS.list_open(0, 2)) + ask(CALLS.list_open(2, 2)) + ask(CALLS.list_open(4, 2)) == list("01234")


def test_what_is_purged_is_gone(ask, place):
    ask(claim())
    ask(CALLS.complete(NAME, MINE, LARGE))
    assert ask(CALLS.purge(NAME))
    assert not ask(CALLS.purge(NAME))
    assert place.wire.ask("EXISTS", place.record, place.body) == 0


def test_why_a_run_is_unknown_is_said_and_a_fenced_one_that_saw_its_fence_missing_stays(ask, place):
    ask(claim(effects="db"))
    ask(CALLS.hold(NAME, MINE, "not-guarded"))
    verdict = ask(claim(2, NEXT, "db"))
    assert isinstance(verdict, Unknown)
    assert (verdict.why, verdict.holder, verdict.fresh) == ("not-guarded", Holder("web-1", "1.0"), False)


SIZES = {
    "in progress": ("P", 420),
    "no answer kept": (None, 420),
    "204": (StoredAnswer(204), 420),
    "only headers": (StoredAnswer(201, (("content-type", "application/json"), ("location", "/orders/8812"))), 500),
    "100 bytes": (StoredAnswer(201, (("content-type", "application/json"),), os.urandom(100)), 640),
    "500 bytes": (StoredAnswer(201, (("content-type", "application/json"),), os.urandom(500)), 1150),
    "4 KiB apart": (StoredAnswer(201, (("content-type", "application/json"),), os.urandom(4096)), 500),
}


@pytest.mark.parametrize("engine", ["real"], indirect=True)
@pytest.mark.parametrize("name", SIZES)
def test_a_record_is_small(ask, place, name):
    answer, most = SIZES[name]
    ask(claim())
    if answer != "P":
        ask(CALLS.complete(NAME, MINE, answer))
    assert place.wire.ask("OBJECT", "ENCODING", place.record) == b"listpack"
    assert place.wire.ask("MEMORY", "USAGE", place.record, "SAMPLES", "0") <= most


def test_control_an_answer_in_one_piece_makes_it_a_table(real_engine):
    with Wire(real_engine.port) as wire:
        place = Place(wire, "a", "b")
        place.set(**{f"field{number}": "x" * 20 for number in range(11)}, a0="x" * 180)
        assert wire.ask("OBJECT", "ENCODING", "a") == b"hashtable"
