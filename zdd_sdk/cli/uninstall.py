"""`zdd uninstall --check`: what is still needed before the SDK can be taken out, and how far an adoption is."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.cli.service import add_service, find_service, quiet
from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.sessions.adopt import LINK, RETIRED, Link
from zdd_sdk.sessions.adopt_count import EVENTS, Seen, read_tally
from zdd_sdk.store import Call, Keys, Store, finish

__all__ = ["HELP", "Need", "arguments", "count_only_ours", "judge_removal", "judge_step", "run"]

HELP = "Say what is still needed before the SDK may be removed; 1 if anything is."

_LIVE = 60.0
"""Seconds for which a step counts as running after its last pulse, six times the longest usual `fleet.ttl`."""

_QUIET = 86_400.0
"""Seconds without an event after which it counts as over: whoever comes every day has been here."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Need:
    """One thing looked at.

    Attributes:
        needed: something has to be done before the SDK may be removed.
        text: what was found.
        mend: what to do; empty if nothing.
    """

    needed: bool
    text: str
    mend: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``zdd uninstall``."""
    add_service(parser)
    parser.add_argument("--check", action="store_true", required=True, help="look, and change nothing")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def run(options: argparse.Namespace) -> int:
    """Print what was found; 1 if something is still needed."""
    zdd = find_service(options.service)
    with quiet():
        needs = _look(zdd)
    if options.json:
        print(json.dumps([asdict(need) for need in needs], indent=2))
    else:
        for need in needs:
            print(f"{'✗' if need.needed else '✓'} {need.text}" + (f"\n    {need.mend}" if need.mend else ""))
    return int(any(need.needed for need in needs))


def _look(zdd: ZeroDowntime) -> list[Need]:
    store = zdd.blocking_store() if zdd.settings.sessions.enabled else None
    if store is None:
        return [Need(needed=False, text="this service keeps no sessions: nothing of its users would be lost")]
    try:
        tally = finish(read_tally(store, zdd.keys))
        only_ours, sessions = finish(count_only_ours(store, zdd.keys))
    except StoreUnavailable as error:
        mend = "ask again when it answers: until then nobody knows"
        return [Need(needed=True, text=f"Redis is away: {error}", mend=mend)]
    return list(judge_removal(zdd.settings.sessions.adopt, tally, only_ours, sessions, now=time.time()))


def judge_removal(
    step: str, tally: Mapping[str, Seen], only_ours: int | None, sessions: int, *, now: float
) -> Iterator[Need]:
    """Say what is needed; pure.

    Args:
        step: ``sessions.adopt``.
        tally: of the fleet.
        only_ours: sessions whose framework's copy is missing or behind; ``None``: could not be counted.
        sessions: of all.
        now: seconds since 1970.
    """
    yield _judge_setting(step, sessions)
    running = [other for other in ("final", "lead") if _age(tally, f"step:{other}", now) < _LIVE]
    for other in running:
        yield Need(needed=True, text=f"an instance with sessions.adopt = {other} runs", mend="replace it first")
    if only_ours is None:
        mend = "allow this user SCAN, or wait at `mirror` for as long as a session lives (sessions.idle_timeout)"
        yield Need(needed=True, text="sessions cannot be counted here", mend=mend)
    elif only_ours:
        text = f"{only_ours} of {sessions} sessions are complete in Redis only: their users would be logged out"
        yield Need(
            needed=True, text=text, mend="stay at `mirror`: each is written back when its user comes by, or ends"
        )
    else:
        yield Need(needed=False, text=f"every session in Redis ({sessions}) is complete in the framework's store")
    if _age(tally, "refused", now) < _QUIET:
        yield Need(needed=False, text="some sessions have never left the framework: ours cannot keep them")
    text = "cookies named zdd_session stay in browsers and do nothing; they end by themselves"
    yield Need(needed=False, text=text)


def _judge_setting(step: str, sessions: int) -> Need:
    if step == "mirror":
        return Need(needed=False, text="sessions.adopt = mirror: the framework's sessions are the truth")
    if step == "off" and not sessions:
        return Need(needed=False, text="sessions.adopt = off, and there is no session in Redis")
    before = {"off": "final", "final": "lead", "lead": "mirror"}[step]
    on_the_way = "" if before == "mirror" else ", on the way to `mirror`"
    return Need(needed=True, text=f"sessions.adopt = {step}", mend=f"deploy `{before}` next{on_the_way}")


def judge_step(step: str, tally: Mapping[str, Seen], *, now: float) -> Need:
    """Say whether the next step of an adoption is safe; pure. ``zdd doctor`` shows it."""
    reasons = [
        f"{EVENTS[name]} ({_ago(tally, name, now)})" for name in _REASONS[step] if _age(tally, name, now) < _QUIET
    ]
    following = {"mirror": "`lead`", "lead": "`final`", "final": "`off`"}[step]
    text = f"sessions.adopt = {step}"
    if f"step:{step}" not in tally:
        return Need(needed=True, text=f"{text}, and no instance has reported yet", mend=f"wait before {following}")
    if reasons:
        return Need(needed=True, text=f"{text}; within a day: {'; '.join(reasons)}", mend=f"wait before {following}")
    mend = "keep the name of its cookie: see `Adopting`" if step == "final" else ""
    return Need(needed=False, text=f"{text}; nothing speaks against {following}", mend=mend)


_REASONS = {
    "mirror": ("refused", "ours_away"),
    "lead": ("refused", "legacy", "ended", "ours_away"),
    "final": ("refused", "adopt", "legacy", "alone"),
}
"""What of the last day speaks against the step after."""


def _age(tally: Mapping[str, Seen], name: str, now: float) -> float:
    return now - tally[name].last if name in tally else float("inf")


def _ago(tally: Mapping[str, Seen], name: str, now: float) -> str:
    return f"{tally[name].count} so far, the last {max(0, now - tally[name].last) / 60:.0f} min ago"


async def count_only_ours(store: Store, keys: Keys) -> tuple[int | None, int]:
    """Count the sessions whose framework's copy is missing or behind, and all; walks over every key (``SCAN``).

    Returns:
        ``(None, 0)`` where the walk is not possible: on a Cluster, or without the right to ``SCAN``.

    Raises:
        StoreUnavailable: Redis is away.
    """
    if store.cluster:
        return None, 0
    only_ours = sessions = 0
    cursor = b"0"
    pattern = keys.name("session", "*", "s", "*")
    while True:
        scan: Call[Any] = Call(lambda reply: reply, ("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE), again=True)
        try:
            ((cursor, found),) = await store.ask(scan)
        except StoreReplyError:
            return None, 0
        for fields in await store.ask(*(_state_of(key.decode()) for key in found)):
            sessions += fields is not None
            only_ours += fields is True
        if cursor == b"0":
            return only_ours, sessions


def _state_of(key: str) -> Call[bool | None]:
    names = ("_g", "_k", LINK, RETIRED)
    return Call(_is_only_ours, ("HMGET", key, *names), keys=(key,), again=True, on_error=lambda _: None)


def _is_only_ours(reply: Any) -> bool | None:
    """Whether only ours is complete; ``None`` for a marker, and for what has just ended."""
    revision, marker, link_text, retired = reply
    if revision is None or marker is not None:
        return None
    link = Link.parse((link_text or b"").decode("ascii", "replace"))
    return link is None or retired is not None or link.revision != int(revision)
