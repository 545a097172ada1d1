"""A value comes back equal or is refused; foreign bytes are a typed error, never a crash."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import sys
import zoneinfo
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tests.unit.sessions.values import same, values
from zdd_sdk.errors import RecordError, RecordTooNew, RecordUndecodable, SessionValueError
from zdd_sdk.sessions.codec import MAX_DEPTH, decode, encode, is_settled
from zdd_sdk.store.record import frame


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Safe(str):
    __slots__ = ()


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024 - the untyped kind is the common one


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@given(values)
def test_every_value_comes_back_the_same(value):
    assert same(decode(encode(value)), value)


@given(values)
def test_equal_values_have_equal_bytes(value):
    assert encode(decode(encode(value))) == encode(value)


@given(values)
def test_settled_values_cannot_change(value):
    assert not (is_settled(value) and isinstance(value, (list, dict, set)))


def test_the_order_of_a_set_does_not_show():
    many = [f"item{number}" for number in range(50)]
    grown = {many[-1]}
    grown.update(many)
    assert encode(set(many)) == encode(grown)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Level.HIGH, 3),
        (Safe("a"), "a"),
        (Pair(1, [2]), (1, [2])),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
    ],
)
def test_subclasses_come_back_plain_and_equal(value, plain):
    back = decode(encode(value))
    assert same(back, plain)
    assert back == value


@pytest.mark.parametrize("fold", [0, 1])
def test_a_zone_comes_back_as_its_offset(fold):
    value = dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=fold)
    back = decode(encode(value))
    assert (back.timestamp(), back.utcoffset()) == (value.timestamp(), value.utcoffset())


def test_nan_comes_back():
    assert decode(encode(float("nan"))) != decode(encode(float("nan")))
    assert decode(encode(Decimal("sNaN"))).is_snan()


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        object(),
        bytearray(b"a"),
        range(3),
        1j,
        lambda: 1,
        iter([]),
        {"a": {1: [object()]}},
        "\ud800",
        {"\ud800": 1},
        dt.datetime(2000, 1, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
        dt.time(tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
    ],
    ids=[
        "enum",
        "object",
        "bytearray",
        "range",
        "complex",
        "function",
        "iterator",
        "nested",
        "surrogate",
        "surrogate key",
        "fraction of an offset",
        "fraction of an offset in a time",
    ],
)
def test_anything_else_is_refused(value):
    with pytest.raises(SessionValueError):
        encode(value)


def test_depth_is_limited_and_so_are_cycles():
    assert same(decode(encode(nested(MAX_DEPTH))), nested(MAX_DEPTH))
    cycle = []
    cycle.append(cycle)
    for value in (nested(MAX_DEPTH + 1), cycle):
        with pytest.raises(SessionValueError, match="nested deeper"):
            encode(value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", RecordUndecodable),
        (b"\x00\x00\x01\x00\xc0", RecordUndecodable),
        (frame(b""), RecordUndecodable),
        (frame(b"\x01"), RecordUndecodable),
        (frame(b"\x01\x00"), RecordUndecodable),
        (frame(b"\x01\x00\xc1"), RecordUndecodable),
        (frame(b"\x01\x00\xc0\xc0"), RecordUndecodable),
        (frame(b"\x01\x00" + b"\x91" * 5000), RecordUndecodable),
        (frame(b"\x01\x00\xd4\x05\x00"), RecordUndecodable),
        (frame(b"\x00\x00\xc0"), RecordUndecodable),
        (frame(b"\x02\x00\xc0"), RecordTooNew),
        (frame(b"\x01\x00\xc0", format=2), RecordTooNew),
        (b"\x01\x80\x01\x00\xc0", RecordTooNew),
        (frame(b"\x01\x00\xd4\x63\x00"), RecordTooNew),
        (frame(b"\x01\x00\x91\xd4\x63\x00"), RecordTooNew),
    ],
)
def test_foreign_bytes_are_typed_errors(data, error):
    with pytest.raises(error):
        decode(data)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_a_record_error(data):
    for attempt in (data, frame(data), frame(b"\x01\x00" + data)):
        try:
            decode(attempt)
        except RecordError:
            continue


@given(values, st.data())
def test_damaged_bytes_decode_or_are_a_record_error(value, data):
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decode(bytes(encoded))
    except RecordError:
        return


def test_a_schema_of_a_later_release_is_skipped():
    assert decode(frame(b"\x01\x03abc\x05")) == 5


def test_no_pickle():
    import pickletools

    with pytest.raises((ValueError, IndexError)):
        list(pickletools.genops(encode({"a": 1})))


def test_markup_comes_back_as_markup():
    value = Markup("<b>é</b>")
    found = decode(encode([value, {"in": value}, "<plain>"]))
    assert found == [value, {"in": value}, "<plain>"]
    assert [type(found[0]), type(found[1]["in"]), type(found[2])] == [Markup, Markup, str]


def test_markup_is_text_where_nobody_has_templates(monkeypatch):
    data = encode(Markup("<b>"))
    monkeypatch.setitem(sys.modules, "markupsafe", None)
    assert type(decode(data)) is str
    assert decode(data) == "<b>"
