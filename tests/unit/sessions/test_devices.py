"""Entries, handles and labels; and when the fleet lets sessions rotate."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.sessions.visitor import make_sessions
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.fleet import FleetView, WorkerRow
from zdd_sdk.sessions.devices import MAX_LABEL, Entry, label_of, parse_handle, read_devices, write_entry
from zdd_sdk.sessions.reader import SessionReader

hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
times = st.integers(0, 4_000_000_000_000)
FOLLOWS = tuple(SessionReader().capabilities())


@given(entry=st.builds(Entry, hashes, times, times, times, st.text(max_size=300).map(label_of)))
def test_an_entry_is_read_back(entry):
    (device,) = read_devices({b"d:" + b"0" * 22: write_entry(entry), b"_e": b"5"}, entry.hash)
    assert (device.label, device.current, parse_handle(device.handle)) == (entry.label, True, ("0" * 22, entry.hash))
    assert round(device.created.timestamp() * 1000) == entry.created
    assert round(device.seen.timestamp() * 1000) == entry.seen


@given(st.text())
def test_a_label_fits_and_is_text(text):
    label = label_of(text)
    assert len(label.encode()) <= MAX_LABEL
    assert text.encode(errors="replace").startswith(label.encode())


@given(st.text() | st.binary() | st.none())
def test_only_the_exact_form_is_a_handle(text):
    named = parse_handle(text)
    assert named is None or "".join(named) == text


@pytest.mark.parametrize("data", [b"", b"2 of a later release", b"1 short 1 2 3 x", b"1 " + b"0" * 64 + b" a b c x"])
def test_what_cannot_be_read_is_left_out(data):
    assert read_devices({b"d:" + b"0" * 22: data}) == []


def view(*capabilities, known=True):
    workers = tuple(WorkerRow(str(number), capabilities={"sessions": able}) for number, able in enumerate(capabilities))
    return FleetView(known=known, why="" if known else "unknown", workers=workers)


@pytest.mark.parametrize(
    ("fleet", "rotates"),
    [
        (view(FOLLOWS, FOLLOWS), True),
        (view(FOLLOWS, ("1",)), False),
        (view(FOLLOWS, ()), False),
        (view(FOLLOWS, known=False), False),
        (view(), False),
    ],
)
def test_sessions_rotate_once_every_live_worker_follows(fleet, rotates, monkeypatch):
    zdd = ZeroDowntime("shop", redis_url="redis://127.0.0.1:1", sessions={"rotate_every": "1h"})
    zdd.__dict__["fleet"] = SimpleNamespace(view=fleet)
    assert zdd._all_follow_rotations() is rotates
    zdd.fleet.view = view(FOLLOWS)
    assert zdd._all_follow_rotations()


def test_without_a_fleet_they_do_not():
    zdd = ZeroDowntime("shop", redis_url="redis://127.0.0.1:1", fleet={"enabled": False})
    assert not zdd._all_follow_rotations()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation_grace": 121.0}, "rotation_grace cannot be 121s"),
        ({"rotate_every": 59.0}, "rotate_every cannot be 59s: 0, or at least 60 s"),
        ({"rotate_every": 61.0, "rotation_grace": 62.0}, "at least 62 s"),
    ],
)
def test_impossible_settings_refuse_to_start(options, message):
    with pytest.raises(SettingsError, match=message):
        make_sessions(**options)
