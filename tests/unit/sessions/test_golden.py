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
from zdd_sdk.sessions.stored import Stored

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
    stored = Stored(1_700_000_000_500, raw)
    assert (stored.now, stored.created, stored.ends) == (1_700_000_000_500, 1_700_000_000_000, 1_702_592_000_000)
    assert (stored.revision, stored.reader, stored.marker, stored.idle) == (3, 1, False, 1_209_600_000)
    assert (stored.user, stored.writer, stored.since) == ("ada", "1.4.2", 1_700_000_000_000)
    assert (stored.flags, stored.device, stored.told, stored.returned) == ("", "", 0, False)
    assert stored.fields == {"cart": encode([{"sku": "tea", "count": 2}]), "ключ": encode(None)}
    assert stored.others == {b"z:later": b"kept"}


def test_control_a_changed_byte_is_noticed():
    data = bytearray.fromhex(GOLDEN["fields"]["'text'"])
    data[-1] ^= 1
    assert decode(bytes(data)) != "text"
