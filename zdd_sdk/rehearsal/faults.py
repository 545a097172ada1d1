"""What is broken on purpose while the traffic runs."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast, get_args

from zdd_sdk.errors import RehearsalError, StoreUnavailable
from zdd_sdk.rehearsal.deploy.ground import Ground
from zdd_sdk.rehearsal.model import FaultPlan, FaultRecord, PhaseName, Side
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.settings.units import parse_duration

if TYPE_CHECKING:
    from zdd_sdk.store.engine import Engine

__all__ = ["Faults", "flush_fleet", "parse_fault"]

_SHAPE = re.compile(r"(redis-pause|fleet-flush|kill)(?:=([^@]+))?(?:@(.+))?\Z")
_DELAY = 0.5
"""Seconds into the phase: what the phase begins with is then under way."""

_OWN_ENGINE = frozenset({"redis-pause", "fleet-flush"})
"""Faults that would hit everybody else who uses the same Redis."""


def parse_fault(text: str) -> FaultPlan:
    """Read ``redis-pause=10s``, ``fleet-flush``, ``kill=1``, each with an optional ``@phase`` (default ``settled``).

    Raises:
        RehearsalError: it is none of these.
    """
    match = _SHAPE.match(text.strip())
    phase = (match.group(3) or "settled") if match else ""
    if match is None or phase not in get_args(PhaseName):
        message = f"the fault {text!r} is not redis-pause=DURATION, fleet-flush or kill=COUNT, with or without @PHASE"
        raise RehearsalError(message)
    kind, amount, name = match.group(1), match.group(2), cast("PhaseName", phase)
    try:
        if kind == "redis-pause":
            return FaultPlan(kind="redis-pause", seconds=parse_duration(amount or "10s"), phase=name)
        if kind == "kill":
            return FaultPlan(kind="kill", count=int(amount or 1), phase=name)
    except ValueError as error:
        message = f"the fault {text!r} cannot be read: {error}"
        raise RehearsalError(message) from error
    return FaultPlan(kind="fleet-flush", phase=name)


class Faults:
    """Carries out the faults of a plan, each at the beginning of its phase.

    Args:
        recorder: where they are noted.
        engine: the rehearsal's own Redis, which alone can be hurt; ``None`` if the caller's is used.
        redis_url: of the store all instances use.

    Raises:
        RehearsalError: the plan would hurt a Redis that is not the rehearsal's own.
    """

    def __init__(self, recorder: Recorder, ground: Ground, *, engine: Engine | None, redis_url: str) -> None:
        self._recorder, self._ground = recorder, ground
        self._engine, self._url = engine, redis_url
        for fault in ground.plan.faults:
            if engine is None and fault.kind in _OWN_ENGINE:
                message = f"{fault.kind} needs the rehearsal's own engine: leave out --redis-url"
                raise RehearsalError(message)

    async def strike(self, phase: PhaseName, side: Side) -> None:
        """Carry out the faults of a phase, one after the other.

        Args:
            phase: that has just begun.
            side: the release whose instance a ``kill`` hits.
        """
        for fault in self._ground.plan.faults:
            if fault.phase == phase:
                await asyncio.sleep(_DELAY)
                await self._carry_out(fault, side)

    async def _carry_out(self, fault: FaultPlan, side: Side) -> None:
        begin = self._recorder.now()
        if fault.kind == "redis-pause":
            text = await self._pause(fault.seconds)
        elif fault.kind == "fleet-flush":
            text = await self._flush()
        else:
            text = await self._kill(fault.count, side)
        self._recorder.faults.append(FaultRecord(fault.kind, begin, self._recorder.now(), text))

    async def _pause(self, seconds: float) -> str:
        self._recorder.note(f"Redis is paused for {seconds:g} s")
        self._recorder.fault_begins(seconds)
        assert self._engine is not None  # noqa: S101 - refused at construction
        self._engine.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._engine.resume()
        self._recorder.note("Redis answers again")
        return f"paused for {seconds:g} s"

    async def _flush(self) -> str:
        text = f"{await asyncio.to_thread(flush_fleet, self._url)} keys of the registry deleted"
        self._recorder.note(text)
        return text

    async def _kill(self, count: int, side: Side) -> str:
        lost = [victim for _ in range(count) if (victim := self._ground.lose(side)) is not None]
        text = f"killed {', '.join(victim.id for victim in lost) or 'nobody'}"
        self._recorder.note(text)
        if lost:
            self._ground.admit(*await self._ground.start(side, len(lost)))
        return text


def flush_fleet(redis_url: str, pattern: str = "zdd:*:fleet:*") -> int:
    """Delete the registry's keys and return how many there were.

    Raises:
        RehearsalError: Redis is away.
    """
    from zdd_sdk.settings import StoreSettings
    from zdd_sdk.store import Call, Keys, finish
    from zdd_sdk.store.connect import Stores

    stores = Stores(StoreSettings(redis_url=redis_url), Keys("rehearsal", "rehearsal"))
    try:
        (names,) = finish(stores.blocking.ask(Call(list, ("KEYS", pattern))))
        for name in names:
            finish(stores.blocking.ask(Call(int, ("UNLINK", name))))
    except StoreUnavailable as error:
        message = f"the registry cannot be flushed: {error}"
        raise RehearsalError(message) from error
    else:
        return len(names)
    finally:
        stores.close()
