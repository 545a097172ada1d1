"""The rehearsal as one HTML file that needs no network: data, styles, scripts and plots are all inside."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import msgspec

from zdd_sdk.rehearsal.model import Result, Summary
from zdd_sdk.rehearsal.report.series import build_timeline

__all__ = ["MOST_ROWS", "embed", "page_data", "render_page"]

MOST_ROWS = 200
"""Broken promises the page lists; the figures count all of them."""


def render_page(result: Result, summary: Summary) -> str:
    """Return the page of one rehearsal.

    Args:
        result: everything that was seen; its requests are aggregated, so that the page's size is bounded.
        summary: the figures of the same rehearsal.
    """
    return string.Template(_asset("page.html")).substitute(
        title=escape(_title(summary)),
        data=embed(page_data(result, summary)),
        licence=_asset("uplot/LICENSE").replace("--", "- -"),
        uplot_css=_asset("uplot/uPlot.min.css"),
        uplot_js=_asset("uplot/uPlot.iife.min.js"),
        css=_asset("page.css"),
        js=_asset("page.js"),
    )


def page_data(result: Result, summary: Summary) -> Mapping[str, Any]:
    """Return what the page's script draws: the summary, and what it leaves out of the run itself."""
    return {
        "summary": summary,
        "labels": {"old": result.plan.old.label, "new": result.plan.new.label},
        "phases": result.phases,
        "instances": [_without_log(record) for record in result.instances],
        "violations": result.violations[:MOST_ROWS],
        "violations_total": len(result.violations),
        "timeline": build_timeline(result.samples, result.violations, summary.seconds),
    }


def embed(data: object) -> str:
    """Return JSON that is safe between ``<script>`` tags: nothing in it can close the tag or open a comment.

    ``<`` is enough for HTML (https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements);
    ``>`` and ``&`` are escaped as well so that the text survives tools that treat the page as XML.
    """
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _title(summary: Summary) -> str:
    return f"{summary.strategy} rehearsal {'with' if summary.sdk else 'without'} zdd-sdk"


def _without_log(record: Any) -> Any:
    return msgspec.structs.replace(record, log="")


@cache
def _asset(name: str) -> str:
    assets = resources.files("zdd_sdk.rehearsal.report").joinpath("assets")
    return assets.joinpath(*name.split("/")).read_text(encoding="utf-8")
