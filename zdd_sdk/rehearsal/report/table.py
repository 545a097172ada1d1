"""The figures as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable

from zdd_sdk.errors import MissingExtra
from zdd_sdk.rehearsal.model import Latency, Summary

try:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    _missing = MissingExtra("zdd_sdk.rehearsal", "rehearsal")
    raise _missing from error

__all__ = ["format_bytes", "format_ms", "format_seconds", "side_by_side", "summary_table"]

Row = tuple[str, Callable[[Summary], str], Callable[[Summary], bool]]
"""A figure: its name, how to write it, whether it is a loss."""


def summary_table(summary: Summary) -> RenderableType:
    """Return the figures of one rehearsal; what was lost stands out."""
    return _titled(_title(summary), _table([summary], ["with zdd-sdk" if summary.sdk else "without"]))


def side_by_side(with_sdk: Summary, without_sdk: Summary) -> RenderableType:
    """Return the figures of two rehearsals beside each other: with the SDK and the negative control."""
    return _titled(_title(with_sdk), _table([with_sdk, without_sdk], ["with zdd-sdk", "without"]))


def format_seconds(value: float) -> str:
    """Write a duration given in seconds; 0 means it was not measured."""
    return f"{value:.1f} s" if value else "–"


def format_ms(value: float) -> str:
    """Write a duration given in milliseconds."""
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"  # noqa: PLR2004 — milliseconds


def format_bytes(value: int) -> str:
    """Write a size given in bytes."""
    return f"{value / 2**20:.0f} MiB"


def _titled(title: str, table: Table) -> RenderableType:
    return Group(Text(title, style="bold"), table)


def _table(summaries: list[Summary], heads: list[str]) -> Table:
    table = Table(header_style="bold")
    table.add_column("", justify="left", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for group in _groups(summaries):
        for name, write, lost in group:
            cells = [_cell(write(summary), lost(summary)) for summary in summaries]
            table.add_row(name, *cells)
        table.add_section()
    return table


def _cell(text: str, lost: bool) -> Text:
    return Text(text, style="bold red" if lost else "", justify="right")


def _groups(summaries: list[Summary]) -> list[list[Row]]:
    return [_losses(), _failures(summaries), _extras(summaries), _traffic(), _deployment()]


def _losses() -> list[Row]:
    return [
        ("failed requests", lambda s: f"{s.failed:,}", lambda s: s.failed > 0),
        ("lost logins", lambda s: f"{s.lost_logins:,}", lambda s: s.lost_logins > 0),
        ("lost session fields", lambda s: f"{s.lost_fields:,}", lambda s: s.lost_fields > 0),
        ("duplicated effects", lambda s: f"{s.duplicates:,}", lambda s: s.duplicates > 0),
    ]


def _failures(summaries: list[Summary]) -> list[Row]:
    kinds = sorted({kind for summary in summaries for kind in summary.failures})
    return [(f"  failed: {kind}", _failed_as(kind), lambda _: False) for kind in kinds]


def _failed_as(kind: str) -> Callable[[Summary], str]:
    return lambda summary: f"{summary.failures.get(kind, 0):,}"


def _extras(summaries: list[Summary]) -> list[Row]:
    rows: list[Row] = [
        ("other asserts broken", lambda s: f"{s.asserts:,}", lambda s: s.asserts > 0),
        ("instances killed", lambda s: f"{s.killed:,}", lambda s: s.killed > 0),
        ("503 during a fault", lambda s: f"{s.announced:,}", lambda _: False),
        ("cut off by a kill", lambda s: f"{s.cut:,}", lambda _: False),
    ]
    return [row for row in rows if any(row[1](summary) != "0" for summary in summaries)]


def _traffic() -> list[Row]:
    return [
        ("longest gap", lambda s: format_ms(s.longest_gap_ms), lambda _: False),
        ("requests", lambda s: f"{s.requests:,}", lambda _: False),
        ("latency p50 / p95 / p99, old", lambda s: _latency(s, "old"), lambda _: False),
        ("latency p50 / p95 / p99, new", lambda s: _latency(s, "new"), lambda _: False),
    ]


def _latency(summary: Summary, side: str) -> str:
    release = summary.releases.get(side)
    found = release.latency_ms if release else Latency()
    return " / ".join(f"{value:.0f}" for value in (found.p50, found.p95, found.p99)) + " ms"


def _deployment() -> list[Row]:
    return [
        ("deploy", lambda s: format_seconds(s.deploy_s), lambda _: False),
        ("rollback", lambda s: format_seconds(s.rollback_s), lambda _: False),
        ("both releases answering", lambda s: format_seconds(_mixed(s)), lambda _: False),
        ("peak instances", lambda s: str(s.peak_instances), lambda _: False),
        ("peak memory", lambda s: format_bytes(s.peak_rss_bytes), lambda _: False),
    ]


def _mixed(summary: Summary) -> float:
    return summary.mixed_version_window_s + summary.rollback_mixed_version_window_s


def _title(summary: Summary) -> str:
    labels = [release.label for release in summary.releases.values()]
    steps = " → ".join([*labels, *(labels[:1] if summary.rollback_s else [])])
    return (
        f"{summary.strategy} {steps}: {summary.instances} instances, {summary.users} clients, router {summary.router}"
    )
