"""Bytes written by past releases: every future one must still read them (design 4.4).

``tests/golden/sessions/v1.json`` was written by 0.1.0 and is never edited; a new format adds a file.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from tests.unit.sessions.values import same
from zdd_sdk.sessions.codec import decode, encode
from zdd_sdk.sessions.model import Stored, read_stored

GOLDEN = json.loads(Path("tests/golden/sessions/v1.json").read_text(encoding="utf-8"))
KNOWN = {"UUID": UUID, "Decimal": Decimal, "dt": dt}


def meant(expression):
    return eval(expression, {"__builtins__": {"set": set, "frozenset": frozenset}}, KNOWN)


@pytest.mark.parametrize("expression", GOLDEN["fields"])
def test_a_field_of_then_is_read_today(expression):
    assert same(decode(bytes.fromhex(GOLDEN["fields"][expression])), meant(expression))


@pytest.mark.parametrize("expression", GOLDEN["fields"])
def test_today_writes_what_then_reads(expression):
    assert encode(meant(expression)).hex() == GOLDEN["fields"][expression]


def test_a_session_of_then_is_read_today():
    raw = {name.encode(): bytes.fromhex(data) for name, data in GOLDEN["session"].items()}
    stored = read_stored(1_700_000_000_500, raw)
    assert stored == Stored(
        now=1_700_000_000_500,
        created=1_700_000_000_000,
        ends=1_702_592_000_000,
        revision=3,
        user="ada",
        writer="1.4.2",
        reader=1,
        marker=False,
        fields={"cart": encode([{"sku": "tea", "count": 2}]), "ключ": encode(None)},
        others={b"z:later": b"kept"},
        idle=1_209_600_000,
        since=1_700_000_000_000,
    )


def test_control_a_changed_byte_is_noticed():
    data = bytearray.fromhex(GOLDEN["fields"]["'text'"])
    data[-1] ^= 1
    assert decode(bytes(data)) != "text"
