"""The traffic over time, in buckets few enough to draw. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from math import ceil

import msgspec

from zdd_sdk.rehearsal.model import Sample, Violation

__all__ = ["MOST_BUCKETS", "Series", "Timeline", "bucket_width", "build_timeline", "percentile"]

MOST_BUCKETS = 1000
WIDTHS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
COMFORTABLE = 120
"""Buckets a plot shows without noise: a p99 wants many requests per bucket. Above the widest of `WIDTHS` there may
be up to `MOST_BUCKETS`."""


class Series(msgspec.Struct, frozen=True):
    """One release: per bucket its answered requests, and p50, p95, p99 in ms (``None``: nothing answered)."""

    requests: list[int]
    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]


class Timeline(msgspec.Struct, frozen=True):
    """The whole traffic; all lists are as long as ``at``.

    Attributes:
        width: of a bucket, in seconds.
        at: start of each bucket, in seconds since the traffic began.
        failed: requests that failed, whoever was asked.
        announced: requests refused with Retry-After during a fault of the plan.
        broken: assertions of the scenario that did not hold.
        sides: ``old`` and ``new``, where they answered anything.
    """

    width: float
    at: list[float]
    failed: list[int]
    announced: list[int]
    broken: list[int]
    sides: dict[str, Series]


def bucket_width(seconds: float) -> float:
    """Return the width of a bucket for a rehearsal of that length; never more than `MOST_BUCKETS` result."""
    fitting = (width for width in WIDTHS if seconds / width <= COMFORTABLE)
    return next(fitting, max(WIDTHS[-1], ceil(seconds / MOST_BUCKETS)))


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values; ``None`` if there are none."""
    return ordered[max(ceil(share * len(ordered)) - 1, 0)] if ordered else None


def build_timeline(samples: Iterable[Sample], violations: Iterable[Violation], seconds: float) -> Timeline:
    """Sort requests into buckets by when they ended; what ends after ``seconds`` goes into the last."""
    width = bucket_width(seconds)
    count = min(max(ceil(seconds / width), 1), MOST_BUCKETS)
    place = partial(_place, width=width, last=count - 1)
    failed, announced, broken = [0] * count, [0] * count, [0] * count
    answered: defaultdict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(count)])
    for sample in samples:
        bucket = place(sample.at + sample.ms / 1000)
        if sample.failure:
            (failed if sample.failed else announced)[bucket] += 1
        else:
            answered[sample.release][bucket].append(sample.ms)
    for violation in violations:
        broken[place(violation.at)] += 1
    at = [round(bucket * width, 3) for bucket in range(count)]
    sides = {side: _series(answered[side]) for side in ("old", "new") if side in answered}
    return Timeline(width=width, at=at, failed=failed, announced=announced, broken=broken, sides=sides)


def _place(moment: float, width: float, last: int) -> int:
    return min(max(int(moment / width), 0), last)


def _series(buckets: list[list[float]]) -> Series:
    for bucket in buckets:
        bucket.sort()
    p50, p95, p99 = ([_rounded(percentile(bucket, share)) for bucket in buckets] for share in (0.5, 0.95, 0.99))
    return Series(requests=[len(bucket) for bucket in buckets], p50=p50, p95=p95, p99=p99)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
