"""Markdown as the house's tests read it: pages, headings, anchors, fenced blocks, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+?)\s*$", re.MULTILINE)
_ANCHOR = re.compile(r'^\((?P<myst>[\w-]+)\)=$|<a (?:id|name)="(?P<html>[\w-]+)">', re.MULTILINE)
_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")

PAGES = tuple(sorted([*Path().glob("*.md"), *Path("docs").rglob("*.md")]))


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    text: str

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Language and content of every fenced block."""
        return [(match[1], match[2]) for match in _FENCE.finditer(self.text)]

    @property
    def prose(self) -> str:
        """The text without fenced blocks and inline code."""
        return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", self.text))

    def headings(self, level: int) -> list[str]:
        """Text of every heading of one level, in order."""
        return [match[2] for match in _HEADING.finditer(_FENCE.sub("", self.text)) if len(match[1]) == level]

    @property
    def anchors(self) -> set[str]:
        """Every fragment that a link to this page may use (headings as GitHub and MyST slug them)."""
        headings = {slug(match[2]) for match in _HEADING.finditer(_FENCE.sub("", self.text))}
        return headings | {match["myst"] or match["html"] for match in _ANCHOR.finditer(self.text)}

    @property
    def links(self) -> list[str]:
        """Every link to another page or to an anchor of this one; web addresses left out."""
        found = _LINK.findall(self.prose)
        return [link for link in found if not re.match(r"[a-z]+:", link)]


def slug(heading: str) -> str:
    """Return the fragment of a heading, as GitHub and MyST build it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def read(path: Path) -> Page:
    """Read one page."""
    return Page(path.read_text(encoding="utf-8"))


def broken_links(path: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    return [link for link in read(path).links if not _leads_somewhere(path, link)]


def _leads_somewhere(path: Path, link: str) -> bool:
    file, _, fragment = link.partition("#")
    target = path.parent / file if file else path
    if not target.exists():
        return False
    return not fragment or target.suffix != ".md" or fragment in read(target).anchors
