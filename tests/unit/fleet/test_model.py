"""Rows, views, roles and intervals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import FleetUnknown, SettingsError
from zdd_sdk.fleet import FleetView, ReleaseRow, WorkerRow
from zdd_sdk.fleet.calls import settings_record
from zdd_sdk.fleet.model import group_instances, read_row, resolve_role, write_row
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.settings import FleetSettings
from zdd_sdk.store.record import decode, frame

GOLDEN = Path(__file__).parents[2] / "golden" / "fleet"

ROW = WorkerRow(
    "0123456789abcdef",
    instance="web-1",
    role="web",
    state="ready",
    release=ReleaseRow("5e9da77a672c", "1.4.2+0123456", "1.4.2", "0123456789abcdef0123456789abcdef01234567", "512"),
    fingerprint="fedcba9876543210",
    capabilities={"sessions": ("1", "2"), "tokens": ()},
    mode="thread",
    ttl=10.0,
    pid=4711,
)
SHOWN = {"service": "shop", "secret": "(set)", "fleet.pulse": "2s"}


def row(worker, **fields):
    return msgspec.structs.replace(ROW, worker=worker, **fields)


def test_the_row_has_its_golden_bytes():
    assert write_row(ROW) == GOLDEN.joinpath("row_v1.bin").read_bytes()
    assert read_row(ROW.worker, GOLDEN.joinpath("row_v1.bin").read_bytes()) == ROW


def test_the_settings_have_their_golden_bytes():
    assert settings_record(SHOWN) == GOLDEN.joinpath("settings_v1.bin").read_bytes()
    assert decode(GOLDEN.joinpath("settings_v1.bin").read_bytes(), dict[str, str]) == SHOWN


def test_a_newer_release_may_add_fields():
    content = msgspec.to_builtins(ROW) | {"zone": "b", "later": {"x": [1]}}
    assert read_row(ROW.worker, frame(msgspec.msgpack.encode(content))) == ROW


@pytest.mark.parametrize(
    "data",
    [
        frame(b"anything", format=2),
        b"\x01\x01" + write_row(ROW)[2:],
        b"",
        b"\x00",
        b"garbage",
        frame(b"\xc1"),
        frame(msgspec.msgpack.encode({"worker": 7})),
        frame(msgspec.msgpack.encode({"worker": "somebody-else"})),
        frame(msgspec.msgpack.encode({"worker": ROW.worker, "instance": "x" * 70_000})),
    ],
)
def test_a_row_of_a_newer_format_or_garbage_is_alive_but_opaque(data):
    read = read_row(ROW.worker, data)
    assert (read.worker, read.opaque) == (ROW.worker, True)
    assert read.capabilities == {}


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data):
    assert read_row("w", data).worker == "w"


def test_instances_take_the_least_ready_state_of_their_workers():
    rows = [
        row("a", instance="i1"),
        row("b", instance="i1", state="draining"),
        row("c", instance="i2"),
        row("d", instance="i3", state="joining"),
        row("e", instance="i3"),
        row("f", instance="i4", state="a-later-state"),
    ]
    found = {each.instance: (each.state, each.states) for each in group_instances(rows)}
    assert found == {
        "i1": ("draining", {"ready": 1, "draining": 1}),
        "i2": ("ready", {"ready": 1}),
        "i3": ("joining", {"joining": 1, "ready": 1}),
        "i4": ("a-later-state", {"a-later-state": 1}),
    }


def test_an_instance_that_runs_two_releases_is_two_rows():
    rows = [row("a", instance="i"), row("b", instance="i", release=ReleaseRow("x", "2"))]
    assert [each.release.label for each in group_instances(rows)] == ["1.4.2+0123456", "2"]


def known(*workers):
    return FleetView(known=True, why="", workers=workers)


def test_what_everybody_reads():
    old, new = row("a", capabilities={"m": ("1", "2")}), row("b", capabilities={"m": ("2", "3")})
    assert known(old, new).common("m") == {"2"}
    assert known(old, row("c", capabilities={})).common("m") == frozenset()


def test_what_everybody_reads_is_unknown_where_anything_is():
    opaque = read_row("x", b"garbage")
    assert known(ROW, opaque).common("m") is None
    assert known().common("m") is None
    assert known(ROW).unknown("flushed").common("m") is None
    assert [each.label for each in known(ROW, opaque).releases()] == ["1.4.2+0123456"]


def test_a_use_that_cannot_bear_the_unknown_asks_for_knowledge():
    assert known(ROW).require().workers == (ROW,)
    with pytest.raises(FleetUnknown, match="unknown who is alive: flushed"):
        known(ROW).unknown("flushed").require()


@pytest.mark.parametrize("changes", [{"pulse": 3.0}, {"ttl": 7.9}, {"pulse": 0.0}])
def test_a_ttl_shorter_than_four_pulses_refuses_with_the_numbers(changes):
    with pytest.raises(SettingsError, match=r"fleet\.ttl is .* s and fleet\.pulse"):
        Timing.of(FleetSettings(**changes))


def test_an_unnoticed_gap_leaves_room_for_every_live_worker():
    """Silent for one pulse, then the gap, then up to one more pulse: still inside the TTL."""
    for settings in (FleetSettings(), FleetSettings(pulse=1.0, ttl=4.0), FleetSettings(pulse=0.1, ttl=9.0)):
        timing = Timing.of(settings)
        assert timing.pulse + timing.quiet + timing.pulse <= timing.ttl
        assert timing.quiet >= 1.5 * timing.pulse


def test_an_idle_worker_in_request_mode_lives_fifteen_minutes():
    assert Timing.of(FleetSettings(pulse_mode="request")).ttl == 900.0


@pytest.mark.parametrize(
    ("role", "modules", "environ", "interactive", "resolved"),
    [
        ("auto", {"zdd_sdk"}, {}, False, "web"),
        ("auto", {"zdd_sdk"}, {}, True, "shell"),
        ("auto", {"_pytest"}, {"PYTEST_VERSION"}, False, "test"),
        ("auto", {"_pytest"}, {}, False, "web"),
        ("auto", {"unittest"}, {"PYTEST_VERSION"}, False, "web"),
        ("worker", {"_pytest"}, {"PYTEST_VERSION"}, True, "worker"),
        ("shell", set(), {}, False, "shell"),
        ("auto", {"__main__": SimpleNamespace(__spec__=SimpleNamespace(name="unittest.__main__"))}, {}, False, "test"),
        ("auto", {"__main__": SimpleNamespace(__spec__=None)}, {}, False, "web"),
        ("auto", {"django.test.utils": SimpleNamespace(_TestState=SimpleNamespace(saved_data=1))}, {}, False, "test"),
        ("auto", {"django.test.utils": SimpleNamespace(_TestState=SimpleNamespace())}, {}, False, "web"),
    ],
)
def test_roles(role, modules, environ, interactive, resolved):
    modules = modules if isinstance(modules, dict) else dict.fromkeys(modules)
    assert resolve_role(role, modules=modules, environ=environ, interactive=interactive) == resolved
