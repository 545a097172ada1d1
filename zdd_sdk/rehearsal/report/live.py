"""What a person sees while a rehearsal runs: a live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import IO, Any

from zdd_sdk.errors import MissingExtra
from zdd_sdk.rehearsal.model import InstanceRecord, Phase, Result, Sample, Summary, Violation

try:
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    _missing = MissingExtra("zdd_sdk.rehearsal", "rehearsal")
    raise _missing from error

__all__ = ["LinesProgress", "LiveProgress", "Tally", "make_progress"]

FEW = 3
"""Broken promises shown while it runs; the rest only counts, the report lists them."""

STATES = {"starting": "·", "ready": "█", "draining": "▒"}


def make_progress(stream: IO[str] | None = None, *, title: str = "") -> LinesProgress | LiveProgress:
    """Return a progress for ``stream`` (default: standard error): live if it is a terminal, else lines.

    Args:
        stream: where to write.
        title: said before anything happens.
    """
    console = Console(file=stream, stderr=stream is None, highlight=False)
    return LiveProgress(console, title) if console.is_terminal else LinesProgress(console, title)


class Tally:
    """What has been seen so far. Written by the rehearsal's loop, read by the thread that draws.

    Attributes:
        phase: the current one.
        requests, failed, announced: of all requests so far.
        broken: broken promises by kind.
        instances: the newest record of each.
        rate: requests answered in the last second.
    """

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self.requests = self.failed = self.announced = 0
        self.broken: Counter[str] = Counter()
        self.instances: dict[str, InstanceRecord] = {}
        self._recent: deque[float] = deque(maxlen=10_000)

    def count(self, sample: Sample) -> None:
        """Add a request."""
        self.requests += 1
        self.failed += sample.failed
        self.announced += sample.failure == "announced"
        self._recent.append(time.monotonic())

    @property
    def rate(self) -> int:
        """Requests that ended within the last second."""
        limit = time.monotonic() - 1
        return sum(moment > limit for moment in tuple(self._recent))

    @property
    def losses(self) -> str:
        """One line: what has been lost so far."""
        parts = [f"{self.failed:,} failed"]
        parts += [f"{self.broken['login']:,} lost logins", f"{self.broken['field']:,} lost fields"]
        parts += [f"{self.broken[kind]:,} {name}" for kind, name in _OTHERS.items() if self.broken[kind]]
        return ", ".join(parts + ([f"{self.announced:,} announced 503"] if self.announced else []))

    @property
    def lossless(self) -> bool:
        """Nothing has been lost so far."""
        return not self.failed and not self.broken


_OTHERS = {"effect": "effects not exactly once", "assert": "other asserts"}


class LinesProgress:
    """One line per phase, note and the first broken promises."""

    def __init__(self, console: Console, title: str = "") -> None:
        self._console = console
        self._tally = Tally()
        if title:
            self._say(title)

    def on_phase(self, phase: Phase) -> None:
        """Say which phase begins, and what has been lost until now."""
        so_far = f" ({self._tally.requests:,} requests so far, {self._tally.losses})" if self._tally.requests else ""
        self._say(f"{phase.start:6.1f} s  {phase.name}{so_far}")

    def on_sample(self, sample: Sample) -> None:
        """Count it."""
        self._tally.count(sample)

    def on_violation(self, violation: Violation) -> None:
        """Count it; say the first few."""
        self._tally.broken[violation.kind] += 1
        if self._tally.broken.total() <= FEW:
            self._say(f"{violation.at:6.1f} s  broken ({violation.kind}): {violation.text}")

    def on_instance(self, instance: InstanceRecord) -> None:
        """Say nothing: notes say what the deployment does."""

    def on_note(self, text: str) -> None:
        """Say it."""
        self._say(f"          {text}")

    def finished(self, result: Result, summary: Summary) -> None:  # noqa: ARG002 — the protocol's signature
        """Say how it ended."""
        verdict = "nothing was lost" if summary.ok else self._tally.losses
        self._say(f"{summary.seconds:6.1f} s  done: {summary.requests:,} requests, {verdict}")

    def close(self) -> None:
        """Nothing to take away."""

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class LiveProgress:
    """A panel redrawn four times a second by a thread of rich; the rehearsal's loop only counts."""

    def __init__(self, console: Console, title: str = "") -> None:
        self._console = console
        self._title = title
        self._tally = Tally()
        self._notes: deque[str] = deque(maxlen=4)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def on_phase(self, phase: Phase) -> None:
        """Show it; the first one starts the drawing."""
        if self._tally.phase is None:
            self._began = time.monotonic() - phase.start
            self._live.start()
        self._tally.phase = phase

    def on_sample(self, sample: Sample) -> None:
        """Count it."""
        self._tally.count(sample)

    def on_violation(self, violation: Violation) -> None:
        """Count it; show the first few."""
        self._tally.broken[violation.kind] += 1
        if self._tally.broken.total() <= FEW:
            self.on_note(f"broken ({violation.kind}): {violation.text}")

    def on_instance(self, instance: InstanceRecord) -> None:
        """Keep its newest record."""
        with self._lock:
            self._tally.instances[instance.id] = instance

    def on_note(self, text: str) -> None:
        """Show the last few."""
        with self._lock:
            self._notes.append(text)

    def finished(self, result: Result, summary: Summary) -> None:  # noqa: ARG002 — the protocol's signature
        """Take the panel away; the table follows."""
        self.close()

    def close(self) -> None:
        """Take the panel away, also after an error; calling it twice is harmless."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        with self._lock:
            notes, alive = list(self._notes), [each for each in self._tally.instances.values() if each.exited is None]
        phase = self._tally.phase.name if self._tally.phase else "starting"
        head = Text.assemble(
            (self._title, "bold"), f"  {time.monotonic() - self._began:5.1f} s  ", (phase, "bold cyan")
        )
        losses = Text(self._tally.losses, style="green" if self._tally.lossless else "bold red")
        traffic = Text(f"{self._tally.requests:,} requests, {self._tally.rate:,} per second, ") + losses
        return Group(head, traffic, _instances(alive), *(Text(f"  {note}", style="dim") for note in notes))


def _instances(alive: list[InstanceRecord]) -> Table:
    table = Table.grid(padding=(0, 2))
    cells: list[Any] = [
        Text.assemble((STATES[state], style), f" {name} {state}") for name, style, state in map(_show, alive)
    ]
    for start in range(0, len(cells), 4):
        table.add_row(*cells[start : start + 4])
    return table


def _show(instance: InstanceRecord) -> tuple[str, str, str]:
    state = "draining" if instance.drain is not None else "ready" if instance.ready is not None else "starting"
    return instance.id, "blue" if instance.release == "old" else "yellow", state
