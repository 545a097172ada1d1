"""Merge rules: what operations make of any value, and that deriving them loses nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.sessions.visitor import Visitor, make_sessions, reading, writing
from zdd_sdk.errors import SessionConflict, SessionTooLarge, SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.fields import Fields
from zdd_sdk.sessions.merge import (
    ABSENT,
    Add,
    Append,
    CompareAndSet,
    Extend,
    Increase,
    Join,
    Swap,
    Union,
    check_limit,
    joined,
)
from zdd_sdk.store import finish

BIG = 1 << 20
integers = st.integers(-(2**70), 2**70)
sets = st.frozensets(st.integers(0, 9)).map(set)
lists = st.lists(st.integers(0, 9))
either = st.booleans()
pairs = st.one_of(
    st.tuples(st.just(Add()), integers, integers),
    st.tuples(st.just(Union()), sets, sets),
    st.tuples(st.just(Append()), lists, lists).map(lambda case: (case[0], case[1], case[1] + case[2])),
    st.tuples(st.just(CompareAndSet()), integers, integers),
)


@given(pairs, either)
def test_a_derived_operation_makes_now_of_before(case, absent):
    rule, before, now = case
    before = ABSENT if absent else before
    assert rule.derive(before, now).apply(before) == now


@given(integers, st.lists(integers, max_size=6))
def test_added_amounts_count_in_any_order(start, amounts):
    for order in (amounts, amounts[::-1]):
        value = start
        for amount in order:
            value = Increase(amount).apply(value)
        assert value == start + sum(amounts)


@given(sets, st.lists(st.tuples(sets, sets), max_size=5))
def test_members_others_put_in_stay(start, joins):
    value = start
    for members, without in joins:
        value = Join(frozenset(members), frozenset(without - members)).apply(value)
        assert members <= value
    assert start - set().union(*(without for _, without in joins)) <= value


@given(lists, st.lists(lists, max_size=5), st.none() | st.integers(1, 5))
def test_items_are_kept_up_to_the_limit(start, tails, limit):
    value = start
    for tail in tails:
        value = Extend(tuple(tail), limit).apply(value)
    everything = start + [item for tail in tails for item in tail]
    assert value == (everything if limit is None or not tails else everything[-limit:])


def test_operations_leave_what_they_are_given():
    members, items = {1}, [1]
    assert (Join(frozenset({2})).apply(members), Extend((2,)).apply(items)) == ({1, 2}, [1, 2])
    assert (members, items) == ({1}, [1])


@pytest.mark.parametrize(
    ("operation", "current"),
    [
        (Increase(1), "1"),
        (Increase(1), True),
        (Increase("1"), ABSENT),
        (Increase(Decimal(1)), 1.5),
        (Join(frozenset({1})), [1]),
        (Extend((1,)), (1,)),
        (Extend((1,)), None),
    ],
)
def test_what_does_not_fit_is_refused(operation, current):
    with pytest.raises(SessionValueError):
        operation.apply(current)


def test_a_swap_looks_first():
    assert Swap(None, 1).apply(ABSENT) == 1
    assert Swap(1, 2).apply(1) == 2
    with pytest.raises(SessionConflict):
        Swap(1, 2).apply(3)
    with pytest.raises(SessionConflict):
        Swap(1, 2).apply(ABSENT)


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_that_cannot_be(limit):
    with pytest.raises(SessionValueError):
        check_limit(limit)
    with pytest.raises(SessionValueError):
        Append(limit)


def test_members_that_cannot_be():
    with pytest.raises(SessionValueError, match="a set cannot hold it"):
        joined([[]])


@pytest.mark.parametrize(
    ("rule", "before", "now"),
    [(Add(), "x", 1), (Add(), 1, "x"), (Union(), [1], {1}), (Append(), [1, 2], [2]), (Append(), [1], (1, 2))],
)
def test_other_changes_are_plain_writes(rule, before, now):
    assert rule.derive(before, now) is None


# Fields


def stored(**values):
    return {name: codec.encode(value) for name, value in values.items()}


def changed(fields):
    """Changes and what they expect, decoded."""
    changes, _ = fields.changes()
    expected = {name: codec.decode(data) if data else ABSENT for name, data in fields.expected(changes).items()}
    return {name: codec.decode(data) for name, data in changes.items()}, expected


def test_an_operation_expects_what_it_was_applied_to():
    fields = Fields(stored(a=1, other=5), BIG)
    fields.merge("a", Increase(2))
    fields.merge("new", Increase(1))
    fields.write("other", 6)
    assert (fields.read("a"), fields.read("new")) == (3, 1)
    assert changed(fields) == ({"a": 3, "new": 1, "other": 6}, {"a": 1, "new": ABSENT})


def test_after_a_plain_write_it_is_a_part_of_that():
    fields = Fields(stored(a=1), BIG)
    fields.write("a", 10)
    fields.merge("a", Increase(1))
    assert changed(fields) == ({"a": 11}, {})


def test_after_a_change_in_place_it_is_a_part_of_that():
    fields = Fields(stored(a=[1]), BIG)
    fields.read("a").insert(0, 0)
    fields.merge("a", Extend((2,)))
    assert changed(fields) == ({"a": [0, 1, 2]}, {})


def test_a_change_in_place_afterwards_makes_it_a_plain_write():
    fields = Fields(stored(a=[1]), BIG)
    fields.merge("a", Extend((2,)))
    fields.read("a").clear()
    assert changed(fields) == ({"a": []}, {})


def test_a_plain_write_or_delete_afterwards_replaces_it():
    fields = Fields(stored(a=1, b=1), BIG)
    fields.merge("a", Increase(1))
    fields.merge("b", Increase(1))
    fields.write("a", 0)
    fields.delete("b")
    assert fields.changes() == (stored(a=0), {"b"})
    assert changed(fields) == ({"a": 0}, {})


def test_the_object_in_hand_shows_it():
    fields = Fields(stored(seen={1}, log=[1]), BIG)
    seen, log = fields.read("seen"), fields.read("log")
    fields.merge("seen", Join(frozenset({2})))
    fields.merge("log", Extend((2,), 1))
    assert (seen, log) == ({1, 2}, [2])
    fields.rebase(stored(seen={5}, log=[7]))
    assert (seen, log) == ({2, 5}, [2])
    assert fields.read("seen") is seen


def test_what_changes_nothing_is_not_sent_unless_it_checks():
    fields = Fields(stored(seen={1}, state="new"), BIG)
    fields.merge("seen", Join(frozenset({1})))
    assert changed(fields) == ({}, {})
    fields.merge("state", Swap("new", "new"))
    assert fields.checks()
    assert changed(fields) == ({"state": "new"}, {"state": "new"})


def test_rebasing_applies_everything_again():
    fields = Fields(stored(a=1), BIG)
    fields.merge("a", Increase(2))
    fields.merge("a", Increase(3))
    fields.rebase(stored(a=100))
    assert changed(fields) == ({"a": 105}, {"a": 100})
    fields.rebase({"a": b""})
    assert changed(fields) == ({"a": 5}, {"a": ABSENT})


def test_what_was_added_while_a_save_was_under_way_counts_once():
    fields = Fields(stored(a=1), BIG)
    fields.merge("a", Increase(1))
    sent, _ = fields.changes()
    fields.merge("a", Increase(10))
    fields.saved(fields.merged(sent, set()), sent, set())
    assert changed(fields) == ({"a": 12}, {"a": 2})
    fields.rebase(stored(a=3))  # somebody else added 1 to our 2
    assert changed(fields) == ({"a": 13}, {"a": 3})


def test_what_was_written_while_a_save_was_under_way_is_not_forgotten():
    fields = Fields(stored(a=1), BIG)
    fields.write("a", 2)
    sent, deletes = fields.changes()
    fields.write("a", 3)
    fields.write("b", 4)
    fields.saved(fields.merged(sent, deletes), sent, deletes)
    assert fields.changes() == (stored(a=3, b=4), set())


def test_a_conflict_gives_up_that_change_only():
    fields = Fields(stored(state="new", a=1), BIG)
    fields.merge("state", Swap("new", "paid"))
    fields.merge("a", Increase(1))
    fields.write("plain", 1)
    with pytest.raises(SessionConflict, match=r"session\['state'\]"):
        fields.rebase(stored(state="gone", a=5))
    assert fields.read("state") == "gone"
    assert changed(fields) == ({"a": 6, "plain": 1}, {"a": 5})


def test_a_refused_operation_changes_nothing():
    fields = Fields(stored(a="x", log=[1]), 40)
    log = fields.read("log")
    with pytest.raises(SessionValueError, match=r"session\['a'\]"):
        fields.merge("a", Increase(1))
    with pytest.raises(SessionTooLarge):
        fields.merge("log", Extend(("y" * 50,)))
    assert log == [1]
    assert fields.changes() == ({}, set())


# any interleaving

steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["load", "add", "union", "append", "save", "leave"])))


@given(steps, st.sampled_from(["off", "on"]))
def test_whatever_the_order_of_four_requests_all_operations_count_once(schedule, encrypt):
    visitor = Visitor(make_sessions(stock=True, encrypt=encrypt), None)
    finish(visitor.visit(writing(sum=0)))
    running, done, number = {}, [], 0
    for who, step in schedule:
        if step == "load":
            running.setdefault(who, (visitor.exchange(), []))
        if who not in running:
            continue
        exchange, mine = running[who]
        session = finish(visitor.sessions.load(exchange))
        number += 1
        if step == "add":
            session.add("sum", number)
        elif step == "union":
            session.union("members", {number})
        elif step == "append":
            session.append("items", number)
        if step in {"add", "union", "append"}:
            mine.append((step, number))
        if step == "save":
            finish(session.save())
        if step in {"save", "leave"}:
            done += mine
            mine.clear()
        if step == "leave":
            assert finish(visitor.depart(exchange)).status == 200
            del running[who]
    found = finish(visitor.visit(reading("sum", "members", "items"))).result
    assert found["sum"] == sum(number for step, number in done if step == "add")
    assert (found["members"] or set()) == {number for step, number in done if step == "union"}
    assert sorted(found["items"] or []) == sorted(number for step, number in done if step == "append")
