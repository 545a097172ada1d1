"""The page: offline, safe to open, bounded, and about the rehearsal it was made from."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from tests.rehearsal.report.synthetic import make_result
from zdd_sdk.rehearsal import report
from zdd_sdk.rehearsal.model import Summary, Violation
from zdd_sdk.rehearsal.report.page import MOST_ROWS, embed, render_page
from zdd_sdk.rehearsal.report.series import Series, Timeline
from zdd_sdk.rehearsal.summary import summarise

ASSETS = Path(report.__file__).parent / "assets"
HOSTILE = "</script><script>alert(1)</script><!-- & ' \" \u2028"


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def render(result) -> str:
    return render_page(result, summarise(result))


def data_of(page: str):
    return json.loads(Reader(page).scripts[0])


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_result(sdk=False, faults=True))


def test_page_loads_nothing(page):
    """No tag points elsewhere, and the policy forbids what a script might try."""
    reader = Reader(page)
    targets = [value for _, attributes in reader.tags for name, value in attributes.items() if name in {"src", "href"}]
    assert targets == ["data:,"]
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy
    assert not re.search(r"@import|url\(\s*['\"]?http", page)


def test_page_carries_the_licence_of_what_it_embeds(page):
    licence = (ASSETS / "uplot" / "LICENSE").read_text()
    assert "The MIT License (MIT)" in licence
    assert licence.strip() in page


def test_embedded_data_is_the_rehearsal(page):
    data = data_of(page)
    assert data["summary"]["failed"] > 0
    assert data["labels"] == {"old": "1", "new": "2"}
    assert [phase["name"] for phase in data["phases"]] == ["warm-up", "deploy", "settled", "rollback", "cool-down"]
    assert len(data["instances"]) == 9
    assert data["summary"]["faults"][0]["text"] == "paused for 2 s"


def test_text_of_the_application_cannot_leave_the_data():
    result = msgspec.structs.replace(make_result(rate=5), violations=(Violation("field", 1, 1, HOSTILE, "deploy"),))
    page = render(result)
    assert len(Reader(page).scripts) == 3
    assert data_of(page)["violations"][0]["text"] == HOSTILE


def test_embed_is_needed():
    """The negative control: plain JSON lets the text out."""
    plain = f'<script type="application/json">{json.dumps(HOSTILE)}</script>'
    assert len(Reader(plain).scripts) > 1
    assert len(Reader(f'<script type="application/json">{embed(HOSTILE)}</script>').scripts) == 1


def test_strategy_cannot_leave_the_title():
    result = make_result(rate=5)
    summary = msgspec.structs.replace(summarise(result), strategy="</title><b>")
    assert "</title><b>" not in render_page(result, summary)


def test_size_is_bounded():
    small, large = len(render(make_result(rate=20))), len(render(make_result(rate=600)))
    assert large < small * 1.25
    assert large < 150_000


def test_violations_are_bounded_and_counted(page):
    data = data_of(page)
    assert (len(data["violations"]), data["violations_total"]) == (MOST_ROWS, 260)


def test_logs_of_instances_are_not_published(page):
    assert all(instance["log"] == "" for instance in data_of(page)["instances"])


def test_script_reads_only_keys_that_exist():
    """A key renamed in the model must not become an empty cell in the page."""
    script = (ASSETS / "page.js").read_text()
    known = {"summary": Summary, "timeline": Timeline}
    for name, struct in known.items():
        read = set(re.findall(rf"\b{name}\.(\w+)", script))
        assert read
        assert read <= set(struct.__struct_fields__), name
    assert set(re.findall(r'\["(p\d+)"', script)) == {"p50", "p95", "p99"}
    assert {"p50", "p95", "p99"} <= set(Series.__struct_fields__)


def test_script_never_writes_markup():
    script = (ASSETS / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
