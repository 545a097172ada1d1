"""Whatever a client sends: a fresh session or its own, never a 500, never someone else's."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows.sessions.visitor import COOKIE, Visitor, key_of, login, state, writing

WELL_FORMED = "attackerchosen-_" + "." + "x" * 43

GARBAGE = [
    "",
    "x",
    "." * 60,
    "a" * 60,
    "A" * 16 + "." + "b" * 42,
    "A" * 16 + "." + "b" * 44,
    "A" * 15 + "{." + "b" * 43,
    "A" * 16 + "." + "b" * 42 + "=",
    "A" * 16 + "." + "b" * 42 + "\u00e9",
    "A" * 16 + "." + "b" * 42 + "\x00",
    "A" * 16 + "." + "b" * 42 + "\n",
    "A" * 100_000,
    "*",
    "%s%n",
    "'; FLUSHALL",
]


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_a_fresh_session_without_a_trip(tap, flow, visitor, value):
    tap.reset()
    reply = flow(visitor.visit(state, cookies=[f"{COOKIE}={value}"]))
    assert (reply.status, reply.result, reply.cookie, tap.trips) == (200, (None, {}), None, 0)


def test_an_id_of_the_clients_choice_is_never_adopted(flow, visitor, wire):
    visitor.cookie = WELL_FORMED
    reply = flow(visitor.visit(writing(a=1)))
    assert reply.cookie is not None
    assert WELL_FORMED not in reply.cookie
    assert wire.ask("EXISTS", key_of(WELL_FORMED)) == 0


def test_a_login_under_an_id_of_the_clients_choice_gets_its_own(flow, visitor, wire):
    visitor.cookie = WELL_FORMED
    flow(visitor.visit(login("ada")))
    assert visitor.cookie != WELL_FORMED
    assert wire.ask("EXISTS", key_of(WELL_FORMED)) == 0


def test_the_right_one_of_several_is_found(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    lines = [f"{COOKIE}=junk; {COOKIE}={WELL_FORMED}", f'{COOKIE}="{visitor.cookie}"; other=1; ;=;;']
    assert flow(visitor.visit(state, cookies=lines)).result == (None, {"a": 1})


def test_a_live_session_is_preferred_to_a_marker(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    old = visitor.cookie
    flow(visitor.visit(login("ada")))
    reply = flow(visitor.visit(state, cookies=[f"{COOKIE}={old}; {COOKIE}={visitor.cookie}"]))
    assert reply.result == ("ada", {"a": 1})


def test_more_than_four_of_a_name_are_not_tried(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    values = [f"A{'B' * 15}.{letter * 43}" for letter in "cdef"]
    line = "; ".join(f"{COOKIE}={value}" for value in [*values, visitor.cookie])
    assert flow(visitor.visit(state, cookies=[line])).result == (None, {})


def test_an_oversized_header_is_cut_not_refused(flow, visitor):
    flow(visitor.visit(writing(a=1)))
    line = f"junk={'x' * 20_000}; {COOKIE}={visitor.cookie}"
    assert flow(visitor.visit(state, cookies=[line])).result == (None, {})


def test_the_tag_of_another_user_opens_nothing(flow, visitor, sessions):
    flow(visitor.visit(login("ada")))
    tag, _, secret = visitor.cookie.partition(".")
    thief = Visitor(sessions, flow.store, f"{tag}.{secret[::-1]}")
    assert flow(thief.visit(state)).result == (None, {})
    thief = Visitor(sessions, flow.store, f"{tag[::-1]}.{secret}")
    assert flow(thief.visit(state)).result == (None, {})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(max_size=200), max_size=3), method=st.sampled_from(["GET", "POST", "get", "WEBSOCKET"]))
def test_any_cookie_headers(flow, visitor, lines, method):
    reply = flow(visitor.visit(writing(a=1), cookies=lines, method=method, keep=False))
    assert reply.status == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.dictionaries(
        st.sampled_from(["host", "origin", "sec-fetch-site", "x-forwarded-proto", "forwarded"]), st.text(max_size=60)
    )
)
def test_any_other_headers(flow, visitor, headers):
    headers = {**headers, "scheme": "http"}
    assert flow(visitor.visit(writing(a=1), method="POST", headers=headers, keep=False)).status == 200
