from __future__ import annotations

import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import IdempotencyKeyExpired, IdempotencyKeyInvalid, IdempotencyKeyMissing
from zdd_sdk.idempotency.key import MAX_AHEAD, Key, check_age, parse_key

HOUR = 3600.0
WORDS = st.from_regex(r"[!#-&(-+\--:<-~][!#-+\--:<-~]{0,60}", fullmatch=True)
PRINTABLE = st.text([chr(code) for code in range(0x20, 0x7F)], min_size=1, max_size=60)


UUID = "8e03978e-40d5-43e8-bc93-6894a57f9324"


def uuid7(seconds: float) -> str:
    number = round(seconds * 1000) << 80 | uuid.uuid4().int & ((1 << 80) - 1)
    return str(uuid.UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62))


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(WORDS)
def test_quoted_and_bare_are_the_same_key(text: str):
    assert parse_key([text]).text == parse_key([quoted(text)]).text == text


@given(PRINTABLE)
def test_every_printable_text_can_be_quoted(text: str):
    assert parse_key([quoted(text)]) == Key(text)


@given(st.text(min_size=1, max_size=20))
def test_whatever_is_sent_is_printable_or_refused(value: str):
    with contextlib.suppress(IdempotencyKeyInvalid):
        text = parse_key([value]).text
        assert text.isascii()
        assert text.isprintable()


@given(WORDS.filter(lambda word: len(word) > 8))
def test_a_refusal_does_not_quote_the_key(text: str):
    for values, options in (([text, text], {}), ([text + "\t"], {}), ([f"{text} {text}"], {}), ([text], {"most": 4})):
        with pytest.raises(IdempotencyKeyInvalid) as refusal:
            parse_key(values, **options)
        assert text not in str(refusal.value)


@pytest.mark.parametrize("value", ["k;a", "k;a=1;b", '"k";a="x;y"; b=?0', "k;a=1.5;b=:aGk=:", " k ", "k;a=*t/o:k"])
def test_parameters_and_spaces_are_ignored(value: str):
    assert parse_key([value]).text == "k"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a", "a"], "more than one"),
        (["a,b"], "a list"),
        (['"a", "b"'], "a list"),
        (["a,"], "a list"),
        ([""], "empty"),
        (["   "], "empty"),
        (['""'], "0 characters"),
        (["a b"], "nor one word"),
        (["'a'"], "nor one word"),
        (['"a'], "nor one word"),
        (['"a"b'], "nor one word"),
        (["k;"], "nor one word"),
        (["k;A=1"], "nor one word"),
        (["k;a=;b"], "nor one word"),
        (["schlüssel"], "not printable"),
        (["a\x00"], "not printable"),
        (["a\n"], "not printable"),
        (["k" * 256], "256 characters; 1 to 255"),
        ([quoted("k" * 256)], "256 characters; 1 to 255"),
    ],
)
def test_refused(values: list[str], why: str):
    with pytest.raises(IdempotencyKeyInvalid, match=why):
        parse_key(values)


def test_no_header_is_another_error():
    with pytest.raises(IdempotencyKeyMissing):
        parse_key([])


def test_length():
    assert parse_key(["k" * 255]).text == "k" * 255
    assert parse_key(["k" * 20], least=20, most=20).text == "k" * 20
    with pytest.raises(IdempotencyKeyInvalid, match="19 characters; 20 to 255"):
        parse_key(["k" * 19], least=20)


def test_a_long_header_takes_no_long_time():
    """Nothing in the grammar can be read in two ways: a header of a megabyte is refused at once."""
    for value in ("k" + ";a" * 500_000 + ",", '"' + "\\\\" * 500_000, "k" + ";a=1" * 250_000 + '"'):
        with pytest.raises(IdempotencyKeyInvalid):
            parse_key([value])


def test_the_key_does_not_show_itself():
    assert "secret" not in repr(parse_key(["my-secret-key"]))


# Formats


def test_uuid_of_any_version_in_one_spelling():
    text = "0F1E2D3C-4B5A-6978-0000-112233445566"
    assert parse_key([text], format="uuid") == parse_key([f'"{text.lower()}"'], format="uuid") == Key(text.lower())


@pytest.mark.parametrize("value", ["abc", UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}"])
def test_no_uuid(value: str):
    with pytest.raises(IdempotencyKeyInvalid, match="not a UUID"):
        parse_key([value], format="uuid")


def test_uuid7_tells_when_it_was_made():
    assert parse_key([uuid7(1_700_000_000.123)], format="uuid7").raised_at == 1_700_000_000.123


def test_other_versions_and_variants_are_no_uuid7():
    for text in (str(uuid.uuid4()), "018bcfe5-687b-7000-c000-000000000000"):
        with pytest.raises(IdempotencyKeyInvalid, match="version 7"):
            parse_key([text], format="uuid7")


@pytest.mark.parametrize("wanted", ["any", "uuid"])
def test_only_the_format_uuid7_tells_an_age(wanted):
    """One in 64 of the UUIDs that are random all over looks like version 7, and most of those like another century."""
    key = parse_key([uuid7(0)], format=wanted)
    assert key.raised_at is None
    check_age(key, HOUR, 1e9)


def test_age():
    key = parse_key([uuid7(1_000_000)], format="uuid7")
    check_age(key, HOUR, 1_000_000 + HOUR)
    check_age(key, HOUR, 1_000_000 - MAX_AHEAD)
    with pytest.raises(IdempotencyKeyExpired, match="3601 seconds old, and outcomes are remembered for 3600"):
        check_age(key, HOUR, 1_000_000 + HOUR + 1)
    with pytest.raises(IdempotencyKeyInvalid, match="clock"):
        check_age(key, HOUR, 1_000_000 - MAX_AHEAD - 1)
