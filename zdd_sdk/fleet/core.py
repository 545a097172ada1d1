"""The pulse as a flow: what one worker says, what it learns, and the view it makes of that."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from zdd_sdk.errors import StoreReplyError, StoreUnavailable
from zdd_sdk.fleet.calls import PulseReply, goodbye_call, pulse_call, settings_record
from zdd_sdk.fleet.model import FleetView, PulsePart, WorkerRow, new_id, write_row
from zdd_sdk.fleet.watch import Timing, Watch
from zdd_sdk.store import Call, Keys, Store

__all__ = ["Pulser", "Roster"]

logger = logging.getLogger("zdd.fleet")

_JOINING_PULSES = 2


@dataclass(frozen=True, slots=True)
class Roster:
    """The rows received so far in one epoch, and those of before that nobody has yet heard of again.

    Attributes:
        epoch: of the registry.
        generation: the generation up to which ``rows`` is complete.
        rows: live workers by id.
        lingering: workers of an earlier epoch; kept until it is known who is alive, so that a
            flushed registry reports nobody gone.
    """

    epoch: str = ""
    generation: int = 0
    rows: Mapping[str, WorkerRow] = field(default_factory=dict)
    lingering: Mapping[str, WorkerRow] = field(default_factory=dict)

    def rolled_back(self, reply: PulseReply) -> bool:
        """Whether the registry knows less than we have already seen of it: a failover lost writes."""
        return reply.epoch == self.epoch and reply.generation < self.generation

    def applied(self, reply: PulseReply) -> Roster:
        """Return the roster after a reply."""
        if not reply.epoch:
            return self
        old, lingering = self.rows, self.lingering
        if reply.epoch != self.epoch or self.rolled_back(reply):
            old, lingering = {}, {**self.lingering, **self.rows}
        merged = {**old, **reply.rows}
        rows = {worker: row for worker, row in merged.items() if worker in reply.alive}
        rest = {worker: row for worker, row in lingering.items() if worker not in rows}
        return Roster(reply.epoch, reply.upto, rows, rest)

    def settled(self) -> Roster:
        """Return the roster without those nobody has heard of again; once it is known who is alive."""
        return replace(self, lingering={}) if self.lingering else self

    def workers(self) -> tuple[WorkerRow, ...]:
        """Return everybody, by instance and id."""
        everybody = {**self.lingering, **self.rows}.values()
        return tuple(sorted(everybody, key=lambda row: (row.instance, row.worker)))


class Pulser:
    """One worker's side of the conversation with the registry. Not thread-safe: one thread or task pulses.

    Args:
        keys: names of keys.
        timing: intervals.
        row: builds the worker's row but for ``worker``, ``state`` and ``capabilities``.
        shown: its settings as people may see them.
        lifecycle_state: says the worker's state.
        parts: whose calls ride along.
    """

    def __init__(
        self,
        keys: Keys,
        timing: Timing,
        *,
        row: WorkerRow,
        shown: Mapping[str, str],
        lifecycle_state: Callable[[], str],
        parts: Iterable[PulsePart] = (),
    ) -> None:
        self.worker = row.worker or new_id()
        self.view = FleetView()
        self.pulses = 0
        self._keys = keys
        self._timing = timing
        self._template = msgspec.structs.replace(row, worker=self.worker)
        self._settings = settings_record(shown)
        self._lifecycle_state = lifecycle_state
        self._parts = list(parts)
        self._watch = Watch(timing.ttl)
        self._roster = Roster()
        self._confirmed = b""
        self._said: set[str] = set()
        self.sent_state = ""

    @property
    def state(self) -> str:
        """What the next pulse says: ``joining`` until two were answered, then the lifecycle's state."""
        return "joining" if self.pulses < _JOINING_PULSES else str(self._lifecycle_state())

    @property
    def away(self) -> bool:
        """Whether the last pulse was not answered."""
        return self._watch.away

    @property
    def wanted(self) -> bool:
        """Whether the registry has asked for our row, so that the next pulse should not wait."""
        return not self._confirmed

    def add(self, part: PulsePart) -> None:
        """Let a part's calls ride on every pulse from now on."""
        self._parts.append(part)

    async def pulse(self, store: Store) -> FleetView:
        """Send one pulse in one trip and return the new view; goes through an open breaker.

        Never raises for an absent or unwilling store: the view is then unknown.
        """
        row = self._row()
        asked = [(part, self._calls_of(part)) for part in self._parts]
        calls = [self._call(row), *(call for _, calls in asked for call in calls)]
        try:
            reply, *results = await store.ask(*calls, probe=True)
        except (StoreUnavailable, StoreReplyError) as error:
            return self._missed(error)
        self._hand_out(asked, results)
        return self._missed(reply) if isinstance(reply, StoreReplyError) else self._heard(store.clock(), row, reply)

    async def goodbye(self, store: Store) -> None:
        """Leave the registry; if the store is away the TTL does it."""
        try:
            await store.ask(goodbye_call(self._keys, self.worker))
        except (StoreUnavailable, StoreReplyError) as error:
            logger.info("no goodbye to the fleet, the TTL will do it: %s", error)

    def give_up(self, why: str) -> None:
        """Claim nothing: the pulse could not even be sent, which is nobody's absence."""
        self._watch = self._watch.missed()
        self._show(self.view.unknown(why))

    def _row(self) -> bytes:
        self.sent_state = self.state
        capabilities = {part.name: tuple(self._guarded(part, part.capabilities) or ()) for part in self._parts}
        return write_row(msgspec.structs.replace(self._template, state=self.sent_state, capabilities=capabilities))

    def _call(self, row: bytes) -> Call[PulseReply | StoreReplyError]:
        return pulse_call(
            self._keys,
            self._timing,
            self.worker,
            row=row,
            fingerprint=self._template.fingerprint,
            settings=self._settings,
            send_row=row != self._confirmed,
            epoch=self._roster.epoch,
            generation=self._roster.generation,
        )

    def _heard(self, clock: float, row: bytes, reply: PulseReply) -> FleetView:
        self._confirmed = b"" if reply.wanted else row
        self.pulses += 1
        roster = self._roster.applied(reply)
        complete = reply.upto == reply.generation if reply.epoch else self._watch.complete
        self._watch = self._watch.answered(
            clock,
            reply.now,
            roster.epoch,
            reply.born,
            complete=complete,
            rolled_back=self._roster.rolled_back(reply),
        )
        why = self._watch.verdict(clock)
        roster = roster if why else roster.settled()
        workers = self.view.workers if roster is self._roster else roster.workers()
        self._roster = roster
        return self._show(FleetView(not why, why, roster.epoch, roster.generation, workers, clock + self._timing.ttl))

    def _missed(self, error: Exception) -> FleetView:
        self._watch = self._watch.missed()
        self._say_once(f"pulse {type(error).__name__}", "the fleet is unknown: %s", error)
        return self._show(self.view.unknown(f"the registry cannot be asked: {error}"))

    def _show(self, view: FleetView) -> FleetView:
        if view.known and not self.view.known:
            logger.info("the fleet is known: %d workers, %d releases", len(view.workers), len(view.releases()))
            self._said.clear()
        elif self.view.known and not view.known:
            logger.info("the fleet is unknown: %s", view.why)
        self.view = view
        return view

    def _calls_of(self, part: PulsePart) -> list[Call[Any]]:
        return [_fenced(call) for call in self._guarded(part, part.calls) or ()]

    def _hand_out(self, asked: Sequence[tuple[PulsePart, Sequence[Call[Any]]]], results: Sequence[Any]) -> None:
        start = 0
        for part, calls in asked:
            mine = results[start : start + len(calls)]
            start += len(calls)
            self._guarded(part, functools.partial(part.applied, mine))

    def _guarded(self, part: PulsePart, function: Callable[[], Any]) -> Any:
        """Call into a part; one that fails must cost neither the pulse nor the other parts."""
        try:
            return function()
        except Exception:
            if part.name not in self._said:
                self._said.add(part.name)
                logger.exception("part %s failed in the pulse; said once", part.name)
            return None

    def _say_once(self, what: str, message: str, *arguments: object) -> None:
        if what not in self._said:
            self._said.add(what)
            logger.warning(message, *arguments)


def _fenced(call: Call[Any]) -> Call[Any]:
    """Turn whatever goes wrong with one call into its result."""

    def read(reply: Any) -> Any:
        try:
            return call.read(reply)
        except Exception as error:  # noqa: BLE001 - handed to the part it belongs to
            return error

    return msgspec.structs.replace(call, read=read, on_error=call.on_error or _as_value)


def _as_value(error: StoreReplyError) -> StoreReplyError:
    return error
