"""From everything seen to the figures of ``rehearsal.json``. Pure."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from zdd_sdk.rehearsal.model import (
    PHASES,
    InstanceRecord,
    Latency,
    Phase,
    PhaseName,
    PhaseSummary,
    ReleaseSummary,
    Result,
    RouteSummary,
    Sample,
    Side,
    Summary,
)

__all__ = ["latency", "longest_gap", "mixed_window", "peak_instances", "summarise"]

K = TypeVar("K")


def summarise(result: Result) -> Summary:
    """Count, rank and compare; the same result always gives the same summary."""
    plan, samples = result.plan, result.samples
    failures = Counter(sample.failure for sample in samples if sample.failed)
    broken = Counter(violation.kind for violation in result.violations)
    duplicates = max(broken["effect"], result.audit.get("duplicates", 0))
    killed = sum(instance.overdue for instance in result.instances)
    return Summary(
        ok=not (failures or broken or duplicates or killed),
        strategy=plan.strategy,
        router=plan.router,
        sdk=plan.sdk,
        failed=failures.total(),
        lost_logins=broken["login"],
        lost_fields=broken["field"],
        duplicates=duplicates,
        asserts=broken["assert"],
        longest_gap_ms=round(longest_gap(samples) * 1000, 1),
        requests=len(samples),
        announced=sum(sample.failure == "announced" for sample in samples),
        cut=sum(sample.failure == "cut" for sample in samples),
        failures=dict(sorted(failures.items())),
        mixed_version_window_s=_mixed(result, "deploy", "old", "new"),
        rollback_mixed_version_window_s=_mixed(result, "rollback", "new", "old"),
        deploy_s=_longest(result, "deploy"),
        rollback_s=_longest(result, "rollback"),
        peak_instances=peak_instances(result.instances),
        peak_rss_bytes=max((usage.rss for usage in result.usage), default=0),
        killed=killed,
        releases=_releases(result),
        phases=_phases(result),
        routes=_routes(samples),
        faults=result.faults,
        audit=dict(result.audit),
        violations=result.violations[:20],
        instances=plan.instances,
        users=plan.users,
        began=result.began,
        seconds=round(max((phase.end or 0.0 for phase in result.phases), default=0.0), 3),
        engine=result.engine,
        versions=dict(result.versions),
        notes=result.notes,
    )


def latency(samples: Iterable[Sample]) -> Latency:
    """Nearest-rank percentiles of the answered requests among ``samples``, in milliseconds."""
    times = sorted(sample.ms for sample in samples if not sample.failure)
    if not times:
        return Latency()
    ranks = (times[max(0, math.ceil(share * len(times)) - 1)] for share in (0.5, 0.95, 0.99, 1.0))
    return Latency(*(round(value, 2) for value in ranks))


def longest_gap(samples: Sequence[Sample]) -> float:
    """Longest stretch, in seconds, without a good answer while a request was waiting for one.

    Time in which nobody asked does not count: a stretch begins with the last good answer, or with
    the first request after it if none was under way.
    """
    ordered = sorted(samples, key=_end)
    earliest = list(itertools.accumulate((sample.at for sample in reversed(ordered)), min))[::-1]
    longest, answered, begin = 0.0, 0.0, None
    for sample, asked in zip(ordered, earliest, strict=True):
        begin = max(answered, asked) if begin is None else begin
        longest = max(longest, _end(sample) - begin)
        if not sample.failed:
            answered, begin = _end(sample), None
    return longest


def mixed_window(samples: Iterable[Sample], leaving: Side, coming: Side) -> float:
    """Seconds from the first good answer of the coming release to the last one of the leaving release."""
    ends: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if not sample.failure:
            ends[sample.release].append(_end(sample))
    if not ends[leaving] or not ends[coming]:
        return 0.0
    return max(0.0, max(ends[leaving]) - min(ends[coming]))


def peak_instances(instances: Iterable[InstanceRecord]) -> int:
    """Most processes alive at one moment; one that ends as another begins is not counted twice."""
    moments = [(record.started, 1) for record in instances]
    moments += [(record.exited, -1) for record in instances if record.exited is not None]
    return max(itertools.accumulate(step for _, step in sorted(moments)), default=0)


def _mixed(result: Result, name: PhaseName, leaving: Side, coming: Side) -> float:
    windows = (
        mixed_window((s for s in result.samples if phase.start <= s.at <= _until(phase)), leaving, coming)
        for phase in _rounds(result, name)
    )
    return round(max(windows, default=0.0), 3)


def _releases(result: Result) -> dict[str, ReleaseSummary]:
    groups = _group(result.samples, lambda sample: sample.release)
    return {
        plan.side: ReleaseSummary(plan.label, len(found := groups[plan.side]), _failed(found), latency(found))
        for plan in (result.plan.old, result.plan.new)
    }


def _phases(result: Result) -> tuple[PhaseSummary, ...]:
    """One summary per name, in the order they happen; the rounds of a phase are taken together."""
    groups = _group(result.samples, lambda sample: sample.phase)
    broken = Counter(violation.phase for violation in result.violations)
    return tuple(
        PhaseSummary(
            name,
            round(sum(_seconds(phase) for phase in _rounds(result, name)), 3),
            len(found := groups[name]),
            _failed(found),
            broken[name],
            latency(found),
        )
        for name in PHASES
        if _rounds(result, name)
    )


def _routes(samples: Sequence[Sample]) -> tuple[RouteSummary, ...]:
    return tuple(
        RouteSummary(
            method,
            route,
            len(found),
            _failed(found),
            sum(sample.failure == "announced" for sample in found),
            latency(found),
        )
        for (method, route), found in sorted(_group(samples, lambda s: (s.method, s.route)).items())
    )


def _group(samples: Iterable[Sample], key: Callable[[Sample], K]) -> defaultdict[K, list[Sample]]:
    groups: defaultdict[K, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[key(sample)].append(sample)
    return groups


def _rounds(result: Result, name: PhaseName) -> list[Phase]:
    return [phase for phase in result.phases if phase.name == name]


def _longest(result: Result, name: PhaseName) -> float:
    return max((_seconds(phase) for phase in _rounds(result, name)), default=0.0)


def _seconds(phase: Phase) -> float:
    return round(phase.end - phase.start, 3) if phase.end is not None else 0.0


def _until(phase: Phase) -> float:
    return math.inf if phase.end is None else phase.end


def _failed(samples: Iterable[Sample]) -> int:
    return sum(sample.failed for sample in samples)


def _end(sample: Sample) -> float:
    return sample.at + sample.ms / 1000
