"""The tables and the progress on the terminal."""

from __future__ import annotations

import io
import time

import msgspec
from rich.console import Console

from tests.rehearsal.report.synthetic import make_result
from zdd_sdk.rehearsal.report.live import LinesProgress, LiveProgress, Tally, make_progress
from zdd_sdk.rehearsal.report.table import format_ms, side_by_side, summary_table
from zdd_sdk.rehearsal.summary import summarise


def shown(renderable, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def cells(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if f" {name} " in line)
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def play(progress, result) -> None:
    for phase in result.phases:
        progress.on_phase(phase)
        progress.on_note(f"{phase.name} goes on")
        for sample in (each for each in result.samples if each.phase == phase.name):
            progress.on_sample(sample)
        for violation in (each for each in result.violations if each.phase == phase.name):
            progress.on_violation(violation)


def test_side_by_side_shows_both_figures_of_each_loss():
    kept, lost = summarise(make_result(rate=60)), summarise(make_result(rate=60, sdk=False))
    text = shown(side_by_side(kept, lost))
    assert cells(text, "failed requests") == ["0", f"{lost.failed}"]
    assert cells(text, "lost logins") == ["0", f"{lost.lost_logins}"]
    assert cells(text, "lost session fields") == ["0", f"{lost.lost_fields}"]
    assert cells(text, "duplicated effects") == ["0", "2"]
    assert cells(text, "failed: reset") == ["0", f"{lost.failures['reset']}"]


def test_summary_table_fits_a_narrow_terminal_and_names_the_rehearsal():
    text = shown(summary_table(summarise(make_result(rate=20))), width=80)
    assert text.startswith("rolling 1 → 2 → 1: 3 instances, 40 clients, router kube")
    assert max(map(len, text.splitlines())) <= 80
    assert "instances killed" not in text


def test_rare_figures_are_shown_when_there_are_any():
    summary = msgspec.structs.replace(summarise(make_result(rate=20)), killed=1, announced=7)
    text = shown(summary_table(summary))
    assert cells(text, "instances killed") == ["1"]
    assert cells(text, "503 during a fault") == ["7"]


def test_milliseconds_become_seconds_where_they_are_many():
    assert [format_ms(value) for value in (3.4, 999.0, 1234.0)] == ["3 ms", "999 ms", "1.23 s"]


def test_without_a_terminal_there_are_plain_lines():
    stream, result = io.StringIO(), make_result(sdk=False, rate=60)
    progress = make_progress(stream, title="rehearsing")
    assert isinstance(progress, LinesProgress)
    play(progress, result)
    progress.finished(result, summary := summarise(result))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.startswith("rehearsing\n   0.0 s  warm-up\n")
    assert f"{summary.failed:,} failed, {summary.lost_logins:,} lost logins" in text.splitlines()[-1]
    assert text.count("broken (") == 3


def test_a_lossless_rehearsal_says_so():
    stream, result = io.StringIO(), make_result(rate=20)
    progress = make_progress(stream)
    play(progress, result)
    progress.finished(result, summarise(result))
    assert stream.getvalue().splitlines()[-1].endswith("780 requests, nothing was lost")


def test_on_a_terminal_the_panel_shows_losses_and_goes_away():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    result = make_result(sdk=False, rate=20)
    progress = LiveProgress(console, "rehearsing")
    play(progress, result)
    for instance in result.instances:
        progress.on_instance(instance)
    panel = shown(progress._draw())
    progress.finished(result, summarise(result))
    progress.close()
    assert "cool-down" in panel
    assert f"{summarise(result).lost_logins} lost logins" in panel
    assert "old-9 ready" in panel
    assert "old-1 " not in panel


def test_counting_a_request_is_cheap():
    """It runs on the loop that makes the traffic: CPU of 10,000 samples stays far below theirs."""
    tally, result = Tally(), make_result(rate=20)
    began = time.process_time()
    for _ in range(10_000):
        tally.count(result.samples[0])
    assert time.process_time() - began < 0.5
    assert tally.requests == 10_000
