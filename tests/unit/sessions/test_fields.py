"""`Fields` against a plain dict: what was changed is sent, and nothing else."""

from __future__ import annotations

import copy
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tests.unit.sessions.values import values
from zdd_sdk.errors import RecordTooNew, SessionTooLarge, SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.fields import Fields
from zdd_sdk.sessions.model import MAX_NAME
from zdd_sdk.store.record import frame

BIG = 1 << 20
names = st.sampled_from(["a", "b", "c", "", "_u", "a:b", "ключ", "{x}"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, values),
        st.tuples(st.just("read"), names, st.none()),
        st.tuples(st.just("delete"), names, st.none()),
        st.tuples(st.just("mutate"), names, st.none()),
        st.tuples(st.just("save"), names, st.none()),
    ),
    max_size=12,
)


def encoded(model):
    return {name: codec.encode(value) for name, value in model.items()}


@given(st.dictionaries(names, values, max_size=4), steps)
def test_what_is_sent_turns_what_was_stored_into_the_model(start, steps):
    stored, model = encoded(start), copy.deepcopy(start)
    fields = Fields(stored, BIG)
    for step, name, value in steps:
        if step == "write":
            fields.write(name, value)
            model[name] = copy.deepcopy(value)
        elif step == "save":
            sets, deletes = fields.changes()
            stored = fields.merged(sets, deletes)
            fields.saved(stored, sets, deletes)
        elif name not in model:
            with pytest.raises(KeyError):
                fields.delete(name) if step == "delete" else fields.read(name)
        elif step == "delete":
            fields.delete(name)
            del model[name]
        else:
            found = fields.read(name)
            if step == "mutate" and isinstance(found, list):
                found.append(1)
                model[name].append(1)
        assert set(fields) == set(model)
        assert len(fields) == len(model)
    sets, deletes = fields.changes()
    assert fields.merged(sets, deletes) == encoded(model)
    assert all(stored.get(name) != data for name, data in sets.items())
    assert deletes <= stored.keys()


def test_reading_changes_nothing_even_if_another_release_encoded_otherwise():
    other = frame(b"\x01\x00\xdc\x00\x01\x05")  # [5] as array16, where we write a fixarray
    fields = Fields({"a": other}, BIG)
    assert fields.read("a") == [5]
    assert fields.changes() == ({}, set())
    fields.saved({"a": other}, {}, set())
    assert fields.changes() == ({}, set())
    fields.read("a").append(6)
    assert fields.changes() == ({"a": codec.encode([5, 6])}, set())


def test_one_object_under_two_names_is_noticed_under_both():
    fields, shared = Fields({}, BIG), [1]
    fields.write("a", shared)
    fields.write("b", shared)
    shared.append(2)
    assert set(fields.changes()[0].values()) == {codec.encode([1, 2])}


def test_unreadable_fields_are_named_and_stay():
    fields = Fields({"new": frame(b"\x09\x00\xc0")}, BIG)
    with pytest.raises(RecordTooNew, match=r"session\['new'\]"):
        fields.read("new")
    assert fields.changes() == ({}, set())
    assert fields.merged({}, set()) == {"new": frame(b"\x09\x00\xc0")}


def test_limits_are_checked_where_the_value_is_set():
    fields = Fields({}, 100)
    with pytest.raises(SessionTooLarge, match=r"session\['a'\] has \d+ bytes, more than sessions.max_field = 100"):
        fields.write("a", "x" * 100)
    with pytest.raises(SessionValueError, match=r"session\['a'\]"):
        fields.write("a", object())
    assert list(fields) == []


def test_limits_are_checked_where_a_value_has_grown():
    fields, value = Fields({}, 100), []
    fields.write("a", value)
    value.append("x" * 100)
    with pytest.raises(SessionTooLarge):
        fields.changes()


@pytest.mark.parametrize("name", [None, 1, b"a", "x" * (MAX_NAME + 1), "é" * 128, "\ud800"])
def test_names_that_cannot_be(name):
    with pytest.raises(SessionValueError, match="an attribute's name"):
        Fields({}, BIG).write(name, 1)


@pytest.mark.parametrize("name", ["", "x" * MAX_NAME, "é" * 127, "_u", "_x", "a:a", "\x00", "{}"])
def test_names_that_can_be(name):
    fields = Fields({}, BIG)
    fields.write(name, 1)
    assert fields.read(name) == 1


@pytest.mark.parametrize(
    ("stored", "becomes"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (1, Decimal(1)),
        ("a", Markup("a")),
        ([], ()),
        ([1], (1,)),
        ({1}, frozenset({1})),
    ],
)
def test_a_change_of_nothing_but_the_type_is_noticed(stored, becomes):
    fields = Fields({"a": codec.encode([stored])}, BIG)
    fields.read("a")[0] = becomes
    sets, _ = fields.changes()
    (result,) = codec.decode(sets["a"])
    assert repr(result) == repr(becomes)


@pytest.mark.parametrize(
    "value", [{3, 1, 2}, frozenset("abc"), {"b": 1, "a": 2}, [10**5000], Markup("x"), float("nan")]
)
def test_what_is_as_it_was_is_no_change_however_it_looks(value):
    fields = Fields({"a": codec.encode([value])}, BIG)
    fields.read("a")
    assert fields.changes() == ({}, set())


def test_control_looks_without_types_would_not_notice():
    assert [1] == [True] == [1.0] == [Decimal(1)]
    assert not any(codec.shows_as([value], codec.encode([1])) for value in (True, 1.0, Decimal(1)))
