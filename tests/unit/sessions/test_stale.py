"""Stale copies are bounded in age, number and bytes."""

from __future__ import annotations

import pytest

from zdd_sdk.sessions import stale
from zdd_sdk.sessions.stale import StaleCopies
from zdd_sdk.sessions.stored import Stored


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def copies(clock):
    return StaleCopies(clock)


def copy(size=1):
    return Stored(0, {b"a:x": b"y" * size})


def test_a_copy_ages(copies, clock):
    stored = copy()
    copies.put("a", stored)
    clock.now = stale.MAX_AGE
    assert copies.get("a") is stored
    clock.now += 0.1
    assert copies.get("a") is None


def test_an_unknown_or_dropped_one_is_none(copies):
    copies.put("a", copy())
    copies.drop("a")
    copies.drop("a")
    assert copies.get("a") is None


def test_the_number_is_bounded(copies, monkeypatch):
    monkeypatch.setattr(stale, "MAX_COPIES", 2)
    for key in "abc":
        copies.put(key, copy())
    assert [key for key in "abc" if copies.get(key)] == ["b", "c"]


def test_the_bytes_are_bounded(copies, monkeypatch):
    monkeypatch.setattr(stale, "MAX_BYTES", 100)
    for key in "abc":
        copies.put(key, copy(40))
    copies.put("c", copy(41))
    assert [key for key in "abc" if copies.get(key)] == ["b", "c"]
    copies.put("huge", copy(1000))
    assert [key for key in ("a", "b", "c", "huge") if copies.get(key)] == []
