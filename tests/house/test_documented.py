"""Docs are tests: every option, error, command and part is in them, and every link leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import commands_page, markdown, settings_page
from zdd_sdk import errors
from zdd_sdk.settings import leaves

PARTS = ("django", "fastapi", "fleet", "lifecycle", "rehearsal", "release", "sessions", "store", "testing")
SKELETON = ["About", "Usage", "Defaults", "Failure modes", "Telemetry", "Anti-patterns"]


@pytest.mark.parametrize("source", [settings_page, commands_page], ids=["settings", "commands"])
def test_generated_page_is_current(source):
    assert source.PAGE.read_text(encoding="utf-8") == source.page(), "run: make reference"


def test_every_option_says_what_it_is_for():
    page = markdown.read(settings_page.PAGE).text
    assert [leaf.path for leaf in leaves() if f"| `{leaf.path}` | `{leaf.env}` |" not in page] == []
    assert [leaf.path for leaf in leaves() if not leaf.option.doc.endswith(".")] == []


def test_every_command_and_option_says_what_it_does():
    silent = [
        f"{parser.prog} {action.dest}"
        for parser in commands_page.commands()
        for action in commands_page.words(parser)
        if not action.help
    ]
    assert silent == []


def test_every_error_has_its_paragraph():
    anchors = markdown.read(Path("docs/errors.md")).anchors
    codes = {getattr(errors, name).code for name in errors.__all__}
    assert codes - anchors == set()


def test_no_two_errors_share_a_code():
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("part", PARTS)
def test_part_page_has_the_skeleton(part):
    headings = markdown.read(Path(f"docs/{part}.md")).headings(2)
    assert [heading for heading in headings if heading in SKELETON] == SKELETON


@pytest.mark.parametrize("path", markdown.PAGES, ids=str)
def test_links_lead_somewhere(path):
    assert markdown.broken_links(path) == []


def test_control_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](#here) [b](#gone) [c](gone.md) `[d](code.md)`\n", encoding="utf-8")
    assert markdown.broken_links(page) == ["#gone", "gone.md"]
