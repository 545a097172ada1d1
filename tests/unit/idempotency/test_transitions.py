"""Histories of one key, told one by one."""

from __future__ import annotations

import pytest

from zdd_sdk.idempotency.answer import StoredAnswer, encode
from zdd_sdk.idempotency.model import ENTERED, Busy, Completion, Holder, Mismatch, Owned, Replay, Request, Unknown
from zdd_sdk.idempotency.transitions import (
    checkpoint,
    claim,
    complete,
    handoff,
    hold,
    release,
    renew,
    resolve,
)

LEASE, DAY = 15_000, 86_400_000
DONE = Completion(*encode(StoredAnswer(201, (), b"{}")))
ONE, TWO, THREE = (b"%016d" % number for number in (1, 2, 3))


def request(token, effects="unsafe", fingerprints=("j1.kid1.x",)):
    return Request(token, fingerprints, effects, LEASE, DAY, Holder("web", "1.0"), "pay")


def play(*steps, effects="unsafe"):
    """Claim as ONE at 0, then take each step; returns the record and what the last step was told."""
    record, told = claim(None, request(ONE, effects), 0)
    for step in steps:
        record, told = step(record)
    return record, told


def claims(token, now, effects="unsafe"):
    return lambda record: claim(record, request(token, effects), now)


def test_a_claim_lives_for_its_lease_and_not_a_millisecond_longer():
    assert isinstance(play(claims(TWO, LEASE - 1))[1], Busy)
    assert isinstance(play(claims(TWO, LEASE))[1], Unknown)


def test_who_has_only_entered_is_taken_over_and_who_takes_over_has_not_entered():
    record, told = play(lambda record: checkpoint(record, ONE, ENTERED, LEASE, 1), claims(TWO, 2 * LEASE))
    assert isinstance(told, Owned)
    assert told.point == ""
    assert isinstance(claim(record, request(THREE), 4 * LEASE)[1], Unknown)


def test_who_was_overtaken_may_not_begin_its_effect():
    record, _ = play(lambda record: checkpoint(record, ONE, ENTERED, LEASE, 1), claims(TWO, 2 * LEASE))
    for late in (
        checkpoint(record, ONE, "charging", LEASE, 2 * LEASE + 1),
        renew(record, ONE, LEASE, 2 * LEASE + 1),
        complete(record, ONE, DONE, 2 * LEASE + 1),
        hold(record, ONE, "failed"),
        handoff(record, ONE),
        release(record, ONE),
    ):
        assert late == (record, False)


def test_a_point_of_recovery_reaches_who_takes_over():
    _, told = play(
        lambda record: checkpoint(record, ONE, "charged", LEASE, 1),
        claims(TWO, 2 * LEASE, "external"),
        effects="external",
    )
    assert (told.point, told.taken) == ("charged", Holder("web", "1.0"))


@pytest.mark.parametrize("point", ["", "charging"])
def test_an_unsafe_run_cut_off_by_a_drain_is_unknown_at_once(point):
    steps = [lambda record: checkpoint(record, ONE, point, LEASE, 1)] if point else []
    record, told = play(*steps, lambda record: handoff(record, ONE), claims(TWO, 2))
    assert (told.why, told.fresh) == ("drain", False)
    assert handoff(record, ONE) == (record, True)
    assert complete(record, ONE, DONE, 3)[1]


@pytest.mark.parametrize("effects", ["db", "external", "pure"])
def test_a_fenced_one_is_handed_over_and_run_at_once(effects):
    record, told = play(lambda record: handoff(record, ONE), claims(TWO, 2, effects), effects=effects)
    assert isinstance(told, Owned)
    assert told.generation > 0
    assert renew(record, ONE, LEASE, 3) == (record, False)


def test_what_has_entered_and_no_more_is_handed_over_too():
    _, told = play(
        lambda record: checkpoint(record, ONE, ENTERED, LEASE, 1), lambda record: handoff(record, ONE), claims(TWO, 2)
    )
    assert isinstance(told, Owned)


@pytest.mark.parametrize("why", ["lapsed", "drain"])
def test_a_late_run_that_knows_that_it_did_nothing_frees_the_key(why):
    cut = (lambda record: handoff(record, ONE)) if why == "drain" else claims(TWO, 2 * LEASE)
    record, _ = play(cut)
    assert record.why == why
    assert release(record, ONE) == (None, True)
    assert release(None, ONE) == (None, True)


def test_who_has_said_that_it_does_not_know_cannot_say_later_that_it_did_nothing():
    record, told = play(lambda record: hold(record, ONE, "failed-500"), lambda record: release(record, ONE))
    assert not told
    assert record.state == "U"


def test_the_first_answer_stays():
    record, _ = play(lambda record: complete(record, ONE, DONE, 1))
    other = Completion(*encode(StoredAnswer(500)))
    assert complete(record, ONE, other, 2) == (record, True)
    assert isinstance(claim(record, request(TWO), 3)[1], Replay)
    assert hold(record, ONE, "failed") == (record, False)
    assert handoff(record, ONE) == (record, False)
    assert release(record, ONE) == (record, False)


def test_an_operator_who_was_overtaken_decides_nothing():
    record, told = play(lambda record: hold(record, ONE, "failed-500"), claims(TWO, 2))
    _, decided = resolve(record, told.generation, None, "ada", 3)
    assert decided
    again, _ = claim(None, request(THREE), 4)
    assert resolve(again, told.generation, DONE, "ada", 5) == (again, False)
    assert resolve(again, again.generation, DONE, "ada", 5) == (again, False)


def test_what_an_operator_decided_is_not_decided_again_by_another():
    held, _ = play(lambda record: hold(record, ONE, "failed-500"))
    record, _ = resolve(held, held.generation, DONE, "ada", 3)
    assert resolve(record, held.generation, DONE, "ada", 4) == (record, True)
    assert resolve(record, held.generation, DONE, "bob", 4) == (record, False)
    assert resolve(record, held.generation, None, "ada", 4) == (record, False)
    assert complete(record, ONE, DONE, 5) == (record, False)


def test_another_request_does_not_get_it_even_after_the_lease():
    record, told = play(lambda record: claim(record, request(TWO, fingerprints=("j1.kid1.y",)), 2 * LEASE))
    assert told == Mismatch()
    assert record.token == ONE
