"""The fleet as people and deploy scripts see it, who are no workers: look, compare settings, wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zdd_sdk.errors import FleetTimeout, StoreUnavailable
from zdd_sdk.fleet.calls import RegistryReply, look_call, settings_call
from zdd_sdk.fleet.model import FleetView, ReleaseRow, WorkerRow
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.store import Keys, Store

__all__ = [
    "Column",
    "Comparison",
    "Survey",
    "Wanted",
    "compare_settings",
    "look",
    "many",
    "matches",
    "survey",
    "wait_for",
]

_SHORT_COMMIT = 7
_POLL = 0.5
_NO_SUCH_OPTION = "(no such option)"
_UNREADABLE = "(unreadable)"


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at the registry.

    Attributes:
        view: who is alive, and whether that is known.
        fresh: whether workers are pulsing, so that those in the view do live even if others may too.
    """

    view: FleetView
    fresh: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a deploy script waits for.

    Attributes:
        release: version, commit (7 digits or more), label or id that must be ready; or ``None``.
        ready: how many instances of it must be ready.
        gone: version, commit, label or id of which nobody may be left; or ``None``.
        role: count only instances of this role for ``ready``; or ``None``.
        allow_unknown: take an absence for granted where it is not known who is alive.
    """

    release: str | None = None
    ready: int = 1
    gone: str | None = None
    role: str | None = None
    allow_unknown: bool = False

    def missing(self, survey: Survey) -> tuple[str, ...]:
        """Return what is still missing, one sentence each; nothing if satisfied.

        Presence needs only evidence: a worker that pulses does live, even in a registry that is new.
        Absence needs knowledge: unknown never satisfies ``gone``, unless `allow_unknown`.
        """
        return tuple(filter(None, (self._unready(survey), self._remaining(survey))))

    def _unready(self, survey: Survey) -> str:
        if self.release is None:
            return ""
        ready = [row for row in survey.view.instances() if self._counts(row.release) and self._fits(row.role)]
        count = sum(row.state == "ready" for row in ready) if survey.fresh else 0
        return "" if count >= self.ready else f"{count} of {self.ready} instances of {self.release} are ready"

    def _counts(self, release: ReleaseRow) -> bool:
        return self.release is not None and matches(release, self.release)

    def _fits(self, role: str) -> bool:
        return self.role in (None, role)

    def _remaining(self, survey: Survey) -> str:
        if self.gone is None:
            return ""
        left = sum(matches(row.release, self.gone) for row in survey.view.workers)
        if left:
            return f"{many(left, 'worker')} of {self.gone} left"
        if self.allow_unknown:
            return ""
        if not survey.view.known:
            return f"it is unknown whether {self.gone} is gone: {survey.view.why}"
        opaque = sum(row.opaque for row in survey.view.workers)
        return f"it is unknown whether {self.gone} is gone: {many(opaque, 'row')} cannot be read" if opaque else ""


@dataclass(frozen=True, slots=True)
class Column:
    """One configuration that lives: a release and the fingerprint of its settings.

    Attributes:
        release: what runs with it.
        fingerprint: of the settings.
        workers: how many live workers have it.
        settings: option → value as people may see it; ``None`` if it could not be read.
    """

    release: ReleaseRow
    fingerprint: str
    workers: int
    settings: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Settings of the live releases side by side.

    Attributes:
        columns: the configurations, by release.
        differences: option → its value in each column, only where readable ones differ.
    """

    columns: tuple[Column, ...]
    differences: Mapping[str, tuple[str, ...]]


def many(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 worker``, ``2 workers``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def matches(release: ReleaseRow, text: str) -> bool:
    """Whether a person who writes ``text`` means this release: its version, label, id, or 7 digits of its commit."""
    if text in (release.version, release.label, release.id, release.commit):
        return True
    return len(text) >= _SHORT_COMMIT and bool(release.commit) and str(release.commit).startswith(text.lower())


def survey(reply: RegistryReply, timing: Timing) -> Survey:
    """Decide what a registry says, for an observer without a history of its own. Pure.

    Args:
        reply: the registry.
        timing: our own intervals; a worker with a longer TTL counts with its own.
    """
    everybody = [row for row, expiry in reply.workers if expiry > reply.now or reply.now < reply.hold]
    workers = tuple(sorted(everybody, key=lambda row: (row.instance, row.worker)))
    timing = Timing(timing.pulse, max([timing.ttl, *(row.ttl for row in workers)]))
    silent, age = (reply.now - reply.last) / 1000, (reply.now - reply.born) / 1000
    fresh = bool(reply.epoch) and abs(silent) <= timing.quiet
    if not reply.epoch:
        why = "the registry is empty: no worker has pulsed, or it was flushed"
    elif not fresh:
        why = f"nobody has pulsed for {silent:.0f} s"
    elif age < timing.unknown:
        why = f"the registry is new (first pulse, flush or pause); known in {timing.unknown - age:.0f} s"
    else:
        why = ""
    return Survey(FleetView(not why, why, reply.epoch, workers=workers), fresh)


async def look(store: Store, keys: Keys, timing: Timing) -> Survey:
    """Read the registry once, in one trip.

    Raises:
        StoreUnavailable: the store is away.
    """
    (reply,) = await store.ask(look_call(keys))
    return survey(reply, timing)


async def compare_settings(store: Store, keys: Keys, workers: Iterable[WorkerRow]) -> Comparison:
    """Read the settings of the given workers, each fingerprint once, in one trip, and say where they differ."""
    counts = Counter((row.release, row.fingerprint) for row in workers if not row.opaque)
    prints = sorted({fingerprint for _, fingerprint in counts})
    found = dict(zip(prints, await store.ask(*(settings_call(keys, each) for each in prints)), strict=True))
    columns = [Column(release, each, count, found[each]) for (release, each), count in counts.items()]
    columns.sort(key=lambda column: (column.release.label, column.release.id, column.fingerprint))
    return Comparison(tuple(columns), _differences(columns))


def _differences(columns: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    options = sorted({option for column in columns for option in column.settings or ()})
    rows = {option: tuple(_value(column, option) for column in columns) for option in options}
    return {option: values for option, values in rows.items() if len({*values} - {_UNREADABLE}) > 1}


def _value(column: Column, option: str) -> str:
    return _UNREADABLE if column.settings is None else column.settings.get(option, _NO_SUCH_OPTION)


async def wait_for(store: Store, keys: Keys, timing: Timing, wanted: Wanted, timeout: float) -> Survey:
    """Look twice a second until everything wanted is there.

    Raises:
        FleetTimeout: not within ``timeout`` seconds; says what was missing at the last look.
    """
    end = store.clock() + timeout
    while True:
        try:
            seen = await look(store, keys, timing)
            missing = wanted.missing(seen)
            if not missing:
                return seen
        except StoreUnavailable as error:
            missing = (f"the store is away: {error}",)
        if store.clock() >= end:
            raise FleetTimeout("; ".join(missing))
        await store.sleep(min(_POLL, max(0.0, end - store.clock())))
