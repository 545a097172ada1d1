"""The key's parser against the HTTP working group's vectors (RFC 9651): some 1,600 headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zdd_sdk.errors import IdempotencyKeyInvalid
from zdd_sdk.idempotency.key import parse_key

FOLDER = Path(__file__).parents[2] / "vectors" / "structured_fields"

NO_KEY = {"empty string": "a key has at least one character"}

NOT_DECODED = {  # parameters are ignored: that theirs is UTF-8 is not looked at
    "bad display string utf-8 (invalid 2-byte seq)",
    "bad display string utf-8 (invalid sequence id)",
    "bad display string utf-8 (invalid 3-byte seq)",
    "bad display string utf-8 (invalid 4-byte seq)",
}

OTHER_TYPES = ("item", "number", "boolean", "binary", "date", "display-string", "token", "token-generated")


def vectors(*names: str, kind: str = "item") -> list[dict[str, Any]]:
    every = [vector for name in names for vector in json.loads((FOLDER / f"{name}.json").read_text())]
    return [vector for vector in every if vector["header_type"] == kind]


def read(values: list[str]) -> str | None:
    """The key's text; ``None`` if it is refused."""
    try:
        return parse_key(values, most=10_000).text
    except IdempotencyKeyInvalid:
        return None


def differing(found: dict[str, tuple[object, object]]) -> dict[str, tuple[object, object]]:
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def test_strings():
    strings = vectors("string", "string-generated")
    found = {}
    for vector in strings:
        refused = vector.get("must_fail") or vector.get("can_fail") or vector["name"] in NO_KEY
        found[vector["name"]] = (read(vector["raw"]), None if refused else vector["expected"][0])
    assert differing(found) == {}
    assert len(found) == 270


def test_other_types_are_one_bare_word_or_refused():
    """Most clients send a bare token or number. What is neither may still be a word, never two or a list."""
    for vector in vectors(*OTHER_TYPES):
        if len(vector["raw"]) > 1:
            assert read(vector["raw"]) is None
            continue
        (raw,) = vector["raw"]
        word, *parameters = raw.strip(" ").split(";")
        text = read([raw])
        assert text in {word, None}, vector
        if text is None:
            assert vector.get("must_fail") or raw.startswith("%"), vector
        else:
            assert text.isascii(), vector
            assert not set(text) & set(' ",;\t\n\x7f'), vector
            assert not (parameters and vector.get("must_fail")), vector


def test_values_of_parameters():
    found = {}
    for vector in vectors("string", "string-generated", *OTHER_TYPES):
        raw = vector["raw"]
        if len(raw) == 1 and not raw[0].startswith(" ") and not vector.get("can_fail"):
            refused = vector.get("must_fail") and vector["name"] not in NOT_DECODED
            found[vector["name"]] = (read([f'"key";p={raw[0]}']), None if refused else "key")
    assert differing(found) == {}
    assert len(found) > 550
    assert NOT_DECODED <= set(found)


def test_names_of_parameters():
    found = {}
    for vector in vectors("param-list", "key-generated", kind="list"):
        refused = vector.get("must_fail") or len(vector["raw"]) > 1 or len(vector["expected"]) > 1
        word = vector["raw"][0].strip(" ").partition(";")[0]
        found[vector["name"]] = (read(vector["raw"]), None if refused else word)
    assert differing(found) == {}
    assert len(found) > 250


def test_control_a_wrong_expectation_is_seen():
    assert differing({"basic": (read(['"foo bar"']), "foo")}) == {"basic": ("foo bar", "foo")}
