"""`rehearsal.json`: its layout is a promise, it is written whole or not at all, and it is read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints
from unittest.mock import Mock

import msgspec
import pytest

from tests.rehearsal.report.synthetic import make_result
from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.model import Summary
from zdd_sdk.rehearsal.report import encode_summary, read_summary, write_report
from zdd_sdk.rehearsal.report import files as report_files
from zdd_sdk.rehearsal.summary import summarise

GOLDEN = Path("tests/golden/rehearsal")
PROMISED = {"failed", "lost_logins", "lost_fields", "duplicates", "longest_gap_ms", "strategy", "sdk"}


@pytest.fixture(scope="module")
def lossy():
    return make_result(sdk=False, rate=20)


def structs(kind, found):
    """Every struct reachable from a type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for hint in get_type_hints(kind).values():
            structs(hint, found)
    for argument in get_args(kind):
        structs(argument, found)
    return found


def layout():
    """Keys and types of every object of the file, without the prose."""
    definitions = msgspec.json.schema(Summary)["$defs"]
    return json.loads(msgspec.json.encode({name: each["properties"] for name, each in definitions.items()}))


def test_layout_is_the_promised_one():
    """Keys may be added, to the golden file too; none may go or change its type while `schema` stays 1."""
    assert layout() == json.loads((GOLDEN / "schema-1.json").read_text())


def test_file_of_schema_1_is_still_read():
    summary = read_summary(GOLDEN / "schema-1-example.json")
    assert (summary.failed, summary.strategy, summary.sdk) == (18, "rolling", False)
    assert summary.releases["new"].latency_ms.p99 > 0


def test_promised_keys_are_at_the_top(lossy):
    written = json.loads(encode_summary(summarise(lossy)))
    assert written.keys() >= PROMISED
    assert isinstance(written["failed"], int)
    assert written["sdk"] is False


def test_every_key_is_documented():
    page = Path("docs/rehearsal-json.md").read_text()
    missing = [
        f"{struct.__name__}.{field}"
        for struct in structs(Summary, set())
        for field in struct.__struct_fields__
        if not re.search(rf"`(\w+\.)?{field}`", page)
    ]
    assert missing == []


def test_what_was_written_is_read(tmp_path, lossy):
    page = write_report(lossy, summarise(lossy), tmp_path / "deep" / "folder")
    assert page.name == "index.html"
    assert read_summary(page.parent) == summarise(lossy)
    assert sorted(file.name for file in page.parent.iterdir()) == ["index.html", "rehearsal.json"]


def test_second_report_replaces_the_first(tmp_path, lossy):
    write_report(lossy, summarise(lossy), tmp_path)
    other = make_result(rate=20)
    write_report(other, summarise(other), tmp_path)
    assert read_summary(tmp_path).sdk is True


def test_write_that_fails_leaves_the_old_file(tmp_path, lossy, monkeypatch):
    write_report(lossy, summarise(lossy), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError("disk full")))
    with pytest.raises(RehearsalError, match="disk full"):
        write_report(make_result(rate=20), summarise(make_result(rate=20)), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"schema": 1, "ok": "yes"}'])
def test_what_is_no_rehearsal_is_refused(tmp_path, content):
    (tmp_path / "rehearsal.json").write_text(content)
    with pytest.raises(RehearsalError, match=r"rehearsal\.json is not a rehearsal\.json"):
        read_summary(tmp_path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(RehearsalError, match="No such file"):
        read_summary(tmp_path / "nowhere.json")


def test_newer_schema_is_refused(tmp_path, lossy):
    newer = msgspec.structs.replace(summarise(lossy), schema=report_files.SCHEMA + 1)
    (tmp_path / "rehearsal.json").write_bytes(encode_summary(newer))
    with pytest.raises(RehearsalError, match="has schema 2"):
        read_summary(tmp_path)


def test_added_keys_are_ignored(tmp_path, lossy):
    later = {**json.loads(encode_summary(summarise(lossy))), "from_the_future": 1}
    (tmp_path / "rehearsal.json").write_text(json.dumps(later))
    assert read_summary(tmp_path) == summarise(lossy)
