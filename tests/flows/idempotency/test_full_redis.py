"""Redis at ``maxmemory`` under ``noeviction``: no new key, and every run that has one can end as it should."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pytest

from tests.flows.idempotency.conftest import DAY, NAME, SAME, make_calls, token
from zdd_sdk.errors import StoreReplyError
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.model import Owned, Refused, Replay, Unknown
from zdd_sdk.store import load_script

CALLS = make_calls()
ANSWER = StoredAnswer(201, (("location", "/orders/1"),), bytes(range(256)) * 3)
MINE = token(1)


@pytest.fixture
def engine(real_engine):
    """Real ones only: fakeredis knows no limit."""
    return real_engine


@pytest.fixture
def full(wire):
    """Say within which block Redis is full."""

    @contextmanager
    def block():
        wire.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        wire.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            yield
        finally:
            wire.ask("CONFIG", "SET", "maxmemory", "0")

    return block


def claim(number=1, effects="external"):
    return CALLS.claim(NAME, token(number), SAME, effects, "pay", retention=DAY)


SETTLING = {
    "renew": CALLS.renew(NAME, MINE),
    "checkpoint": CALLS.checkpoint(NAME, MINE, "charged"),
    "complete": CALLS.complete(NAME, MINE, ANSWER),
    "release": CALLS.release(NAME, MINE),
    "hold": CALLS.hold(NAME, MINE, "failed-500"),
    "handoff": CALLS.handoff(NAME, MINE),
}


def test_a_new_key_is_refused_and_an_old_one_answered(ask, full, place):
    with full():
        refused = ask(claim())
        assert isinstance(refused, Refused)
        assert "OOM" in refused.message
        assert ask(CALLS.opened(NAME, DAY)) is False
    assert place.read() is None
    ask(claim())
    ask(CALLS.complete(NAME, MINE, ANSWER))
    with full():
        verdict = ask(claim(2))
    assert isinstance(verdict, Replay)
    assert verdict.answer == ANSWER


@pytest.mark.parametrize("name", SETTLING)
def test_a_run_ends_or_goes_on(ask, full, place, name):
    ask(claim())
    place.lapse()
    before = place.dump()
    with full():
        assert ask(SETTLING[name]) is True
    assert place.dump() != before


def test_an_operator_decides(ask, full, place):
    owned = ask(claim(effects="unsafe"))
    ask(CALLS.handoff(NAME, MINE))
    with full():
        assert ask(CALLS.resolve(NAME, owned.generation, ANSWER, "ada"))
        assert ask(claim(2, "unsafe")).answer == ANSWER
        assert ask(CALLS.purge(NAME))
    assert place.read() is None


@pytest.mark.parametrize("effects", ["external", "unsafe"])
def test_a_takeover_is_refused_and_leaves_the_record(ask, full, place, effects):
    ask(claim(effects=effects))
    place.lapse()
    before = place.dump()
    with full():
        assert isinstance(ask(claim(2, effects)), Refused)
    assert place.dump() == before
    assert isinstance(ask(claim(2, effects)), Owned if effects == "external" else Unknown)


def test_a_claim_sent_again_is_owned_all_the_same(ask, full):
    owned = ask(claim())
    with full():
        assert ask(claim()) == owned


@pytest.mark.parametrize("name", [name for name in SETTLING if name != "release"])
def test_control_without_the_flag_it_is_refused(ask, full, place, name):
    call = SETTLING[name]
    plain = replace(call.script, source=call.script.source.partition("\n")[2], sha="0" * 40)
    ask(claim())
    before = place.dump()
    with full(), pytest.raises(StoreReplyError, match="OOM"):
        ask(msgspec.structs.replace(call, script=plain))
    assert place.dump() == before


def test_the_flag_is_the_first_line_of_what_is_sent():
    for name in (*SETTLING, "resolve"):
        source = load_script("zdd_sdk.idempotency", name, prelude="common").source
        assert source.startswith("#!lua flags=allow-oom\n")
        assert source.count("#!") == 1
        assert "local NOW" in source
