"""What became of the orders, and whether that is what we claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.kills.clients import Order
from tests.bench.kills.surroundings import Downstream

__all__ = ["HEAD", "Tally", "count"]

CERTAIN = ("done", "outcome-committed")
"""Answers that say that there is an effect."""

ANSWERS = (*CERTAIN, "outcome-unknown")
"""Those, and the one that says that nobody knows: no client asks again."""


@dataclass(frozen=True)
class Tally:
    """The figures of one cell.

    Attributes:
        killed: requests that were killed at least once.
        kills: attempts that were.
        orders: requests.
        duplicates: effects beyond the first.
        reruns: runs that called downstream again, with the same child key or another.
        lost: orders answered as carried out, without an effect.
        unknown: answered so that nobody knows, of which ``unknown_done`` have an effect.
        no_bytes: carried out, and the answer itself is not kept (409).
        changed: another answer when asked once more.
        stuck: never answered, or by an error that is none of the above.
        told: answers by kind.
    """

    killed: int
    kills: int
    orders: int
    duplicates: int
    reruns: int
    lost: int
    unknown: int
    unknown_done: int
    no_bytes: int
    changed: int
    stuck: int
    told: Mapping[str, int] = field(default_factory=dict)

    def row(self) -> str:
        """Return a line of the table."""
        unknown = f"{self.unknown:,} ({self.unknown_done:,})" if self.unknown else "0"
        figures = f"{self.orders:>9,}{self.killed:>9,}{self.kills:>9,}{self.duplicates:>12,}{self.reruns:>8,}"
        return f"{figures}{self.lost:>6,}{unknown:>15}{self.no_bytes:>10,}{self.changed:>9,}{self.stuck:>7,}"


HEAD = (
    f"{'requests':>9}{'killed':>9}{'kills':>9}{'duplicates':>12}{'reruns':>8}{'lost':>6}{'unknown (done)':>15}"
    f"{'no bytes':>10}{'changed':>9}{'stuck':>7}"
)


def count(orders: Sequence[Order], effects: Mapping[str, int], calls: Mapping[str, int]) -> Tally:
    """Count.

    Args:
        orders: all of a cell.
        effects: how many each has had.
        calls: how often each has called downstream, or had its effect.
    """
    said = Counter(order.told for order in orders)
    unknown = [order for order in orders if order.told == "outcome-unknown"]
    return Tally(
        killed=sum(order.killed > 0 for order in orders),
        kills=sum(order.killed for order in orders),
        orders=len(orders),
        duplicates=sum(max(0, effects.get(order.key, 0) - 1) for order in orders),
        reruns=sum(max(0, calls.get(order.key, 0) - 1) for order in orders),
        lost=sum(order.told in CERTAIN and not effects.get(order.key, 0) for order in orders),
        unknown=len(unknown),
        unknown_done=sum(effects.get(order.key, 0) > 0 for order in unknown),
        no_bytes=said["outcome-committed"],
        changed=sum(_changed(order) for order in orders),
        stuck=sum(order.told not in ANSWERS for order in orders),
        told=said,
    )


def _changed(order: Order) -> bool:
    if order.answer is None or order.again is None or order.told not in ANSWERS:
        return False
    return (order.answer.status, order.answer.body) != (order.again.status, order.again.body)


def effects_downstream(downstream: Downstream) -> tuple[dict[str, int], dict[str, int]]:
    """Return effects and calls by order: who is called has an effect once per child key."""
    effects = {order: len(children) for order, children in downstream.calls.items()}
    return effects, {order: children.total() for order, children in downstream.calls.items()}
