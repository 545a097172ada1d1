"""Bytes written by past releases: every future one must still read them (design 4.4).

``tests/golden/idempotency/v1.json`` was written by the first release with idempotency keys and is never edited; a
new format adds a file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zdd_sdk.idempotency.answer import StoredAnswer, decode, encode
from zdd_sdk.idempotency.model import Holder, Newer, Record, read_record

GOLDEN = json.loads(Path("tests/golden/idempotency/v1.json").read_text(encoding="utf-8"))
SAME = "j1.kid1.same r1.kid1.raw"
FIRST = {"fingerprints": SAME, "operation": "orders.create", "effects": "external"}
ONE, TWO = Holder("web-1", "1.0"), Holder("web-2", "1.1")


def token(number):
    return b"%016d" % number


def meant(expression):
    known = {"StoredAnswer": StoredAnswer, "bytes": bytes, "range": range}
    return eval(expression, {"__builtins__": {}}, known)


def written(name):
    return {field.encode(): bytes.fromhex(value) for field, value in GOLDEN["records"][name].items()}


def times(name):
    fields = written(name)
    said = {"generation": b"gen", "lease": b"lu", "first": b"t0", "ends": b"end"}
    return {attribute: int(fields.get(field, b"0")) for attribute, field in said.items()}


@pytest.mark.parametrize("expression", GOLDEN["answers"])
def test_an_answer_of_then_is_read_today(expression):
    kept, body = (bytes.fromhex(part) for part in GOLDEN["answers"][expression])
    assert decode(kept, body or None) == meant(expression)


@pytest.mark.parametrize("expression", [each for each in GOLDEN["answers"] if "* 500" not in each])
def test_today_writes_what_then_reads(expression):
    """But for compressed bodies, which another zlib writes otherwise and every one reads."""
    assert [part.hex() for part in encode(meant(expression))] == GOLDEN["answers"][expression]


RECORDS = {
    "in progress": {"state": "P", "token": token(1), "holder": ONE},
    "taken over": {"state": "P", "token": token(2), "holder": TWO, "point": "charged", "previous": ONE},
    "unknown": {
        "state": "U",
        "token": token(2),
        "holder": TWO,
        "point": "charged",
        "previous": ONE,
        "why": "failed-500",
    },
    "handed over": {"state": "P", "token": token(1), "holder": ONE},
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_then_is_read_today(name):
    assert read_record(written(name)) == Record(**FIRST, **times(name), **RECORDS[name])


def test_a_completed_record_of_then_is_read_today():
    record = read_record(written("completed"))
    assert isinstance(record, Record)
    assert (record.state, record.holder, record.length) == ("C", TWO, 0)
    answer = decode(record.answer, None)
    assert answer.status == 201
    assert answer.body == b'{"id": 1}'


def test_control_a_changed_byte_is_noticed():
    expression = next(each for each in GOLDEN["answers"] if "orders" in each)
    kept = bytearray.fromhex(GOLDEN["answers"][expression][0])
    kept[-1] ^= 1
    assert decode(bytes(kept), None) != meant(expression)
    assert read_record({**written("completed"), b"v": b"2"}) == Newer("2")
