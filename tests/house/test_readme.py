"""The README opens with what it is for and exactly two commands; the Korean one shows the same code."""

from __future__ import annotations

from pathlib import Path

from tests.house import markdown

ENGLISH, KOREAN = (markdown.read(Path(name)) for name in ("README.md", "README.ko.md"))


def test_first_block_is_the_two_commands():
    language, block = ENGLISH.blocks[0]
    assert language == "console"
    assert [line.split("#")[0].split() for line in block.splitlines()] == [["make", "demo"], ["make", "test"]]


def test_both_languages_show_the_same_code():
    assert KOREAN.blocks == ENGLISH.blocks


def test_both_languages_have_the_same_shape():
    assert [len(KOREAN.headings(level)) for level in (1, 2, 3)] == [len(ENGLISH.headings(level)) for level in (1, 2, 3)]
    assert {link.partition("#")[0] for link in KOREAN.links} - {"README.md"} == {
        link.partition("#")[0] for link in ENGLISH.links
    } - {"README.ko.md"}
