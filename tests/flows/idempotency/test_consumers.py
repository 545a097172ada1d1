"""``@zdd.idempotent_consumer``: a message is handled once, however often and wherever its broker brings it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from tests.flows.idempotency.conftest import Place
from tests.flows.idempotency.functions import Works
from zdd_sdk.errors import (
    IdempotencyInProgress,
    IdempotencyKeyReused,
    IdempotencyOutcomeUnknown,
    SettingsError,
)
from zdd_sdk.idempotency import NOT_DONE
from zdd_sdk.store.wire import Wire

MESSAGES, DELIVERIES, WORKERS = 50, 1000, 24


@dataclass
class Message:
    id: str
    text: str = "hello"


@pytest.fixture
def works(engine: Any) -> Iterator[Works]:
    found = Works(engine.url)
    yield found
    found.zdd.lifecycle.stop(1.0)


def test_a_message_is_handled_once_and_its_result_comes_back(works: Works) -> None:
    @works.consumer()
    def sent(message: Message) -> str:
        works.done[message.id] += 1
        return message.text

    @works.consumer("other.group")
    def elsewhere(message: Message) -> None:
        works.done[message.id] += 1

    assert [sent(Message("a")), sent(Message("a")), sent(message=Message("a"))] == ["hello"] * 3
    assert works.done == {"a": 1}
    elsewhere(Message("a"))
    assert works.done == {"a": 2}, "another consumer group handles it, too"


def test_messages_may_be_mappings_and_handlers_asynchronous(works: Works) -> None:
    @works.consumer(key="message.payload.order")
    async def sent(message: dict[str, Any]) -> None:
        works.done[message["payload"]["order"]] += 1

    for _ in range(3):
        asyncio.run(sent(_order(7)))
    assert works.done == {7: 1}


def _order(number: int) -> dict[str, Any]:
    return {"payload": {"order": number}}


def test_a_business_key_with_selected_fields_survives_another_message_id(works: Works) -> None:
    """A producer that sends the same event twice gives it two ids."""

    @works.consumer(key="message.payload.order", fingerprint=("message.payload",))
    def sent(message: dict[str, Any]) -> None:
        works.done[message["payload"]["order"]] += 1

    sent({"id": 1, **_order(7)})
    sent({"id": 2, **_order(7)})
    with pytest.raises(IdempotencyKeyReused):
        sent({"id": 3, "payload": {"order": 7, "amount": 5}})
    assert works.done == {7: 1}


def test_who_is_busy_says_so_and_is_not_to_be_acknowledged(works: Works) -> None:
    begun, go = threading.Event(), threading.Event()

    @works.consumer()
    def sent(message: Message) -> None:
        begun.set()
        assert go.wait(20)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sent, Message("a"))
        assert begun.wait(20)
        with pytest.raises(IdempotencyInProgress) as raised:
            sent(Message("a"))
        assert type(raised.value) is IdempotencyInProgress
        assert raised.value.retry_after > 0, "for how long to put it back"
        go.set()
        first.result()
    assert sent(Message("a")) is None


def test_what_failed_comes_again_or_is_for_the_dead_letters(works: Works) -> None:
    def fails(message: Message) -> None:
        works.done[message.id] += 1
        raise ConnectionError

    again, never = works.consumer("again")(fails), works.consumer("never", effects="unsafe")(fails)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            again(Message("a"))
    with pytest.raises(ConnectionError):
        never(Message("b"))
    with pytest.raises(IdempotencyOutcomeUnknown):
        never(Message("b"))
    assert works.done == {"a": 2, "b": 1}


@pytest.mark.parametrize(("found", "runs"), [(NOT_DONE, 2), ("by mail", 1)])
def test_a_probe_decides_what_is_unknown(works: Works, found: Any, runs: int) -> None:
    @works.consumer(effects="unsafe", on_unknown=lambda context: found)
    def sent(message: Message) -> str:
        works.done[message.id] += 1
        if works.done[message.id] == 1:
            raise ConnectionError
        return "again"

    with pytest.raises(ConnectionError):
        sent(Message("a"))
    assert sent(Message("a")) == ("again" if runs == 2 else found)
    assert sent(Message("a")) == ("again" if runs == 2 else found)
    assert works.done == {"a": runs}


@pytest.mark.parametrize(("timeout", "fits"), [("30s", True), (18.75, True), ("18s", False), (1, False), (None, True)])
def test_the_lease_fits_into_the_visibility_timeout(works: Works, timeout: Any, fits: bool) -> None:
    def sent(message: Message) -> None: ...

    if fits:
        works.consumer(visibility_timeout=timeout)(sent)
    else:
        with pytest.raises(SettingsError, match=r"at most 0\.8 of the visibility timeout"):
            works.consumer(visibility_timeout=timeout)(sent)


def test_a_message_is_remembered_for_eight_days(works: Works, real_engine: Any) -> None:
    days = Works(real_engine.url)

    @days.consumer()
    def sent(message: Message) -> None: ...

    sent(Message("a"))
    bracket = days.zdd.brackets[-1]
    (name,) = bracket.scope.names("anonymous", "a")
    with Wire(real_engine.port) as wire:
        place = Place(wire, *days.zdd.idempotency.calls._names(name))
        left = wire.ask("PTTL", place.record)
    assert 7.9 * 86_400_000 < left <= 8 * 86_400_000


class Queue:
    """A broker that delivers at least once, and in no order.

    Attributes:
        acknowledged: ids, each as often as it was.
        dead: those given up.
    """

    def __init__(self, messages: list[Message], copies: int) -> None:
        self.waiting: SimpleQueue[tuple[float, Message]] = SimpleQueue()
        deliveries = messages * copies
        random.Random(4).shuffle(deliveries)
        self.expected = len(deliveries)
        for message in deliveries:
            self.waiting.put((0.0, message))
        self.acknowledged: Counter[str] = Counter()
        self.dead: list[str] = []
        self.ended = 0
        self._lock = threading.Lock()

    def work(self, handle: Callable[[Message], object]) -> None:
        """Deliver until each delivery has been acknowledged or given up."""
        while self.ended < self.expected:
            try:
                due, message = self.waiting.get(timeout=0.05)
            except Empty:
                continue
            time.sleep(max(0.0, due - time.monotonic()))
            self._deliver(handle, message)

    def _deliver(self, handle: Callable[[Message], object], message: Message) -> None:
        try:
            handle(message)
        except IdempotencyOutcomeUnknown:
            self._end(self.dead.append, message)
        except IdempotencyInProgress:
            self.waiting.put((time.monotonic() + 0.01, message))
        else:
            self._end(lambda done: self.acknowledged.update([done]), message)

    def _end(self, note: Callable[[str], object], message: Message) -> None:
        with self._lock:
            note(message.id)
            self.ended += 1


def test_a_thousand_deliveries_of_fifty_messages_are_fifty_effects(works: Works) -> None:
    @works.consumer()
    def sent(message: Message) -> None:
        works.done[message.id] += 1
        time.sleep(0.002)

    queue = Queue([Message(f"m-{number}") for number in range(MESSAGES)], DELIVERIES // MESSAGES)
    with ThreadPoolExecutor(WORKERS) as pool:
        for worker in [pool.submit(queue.work, sent) for _ in range(WORKERS)]:
            worker.result()
    assert sorted(works.done.values()) == [1] * MESSAGES
    assert set(queue.acknowledged.values()) == {DELIVERIES // MESSAGES}
    assert (works.live, queue.dead) == (0, [])


def test_control_who_looks_before_and_notes_afterwards_handles_some_twice(works: Works) -> None:
    """What is usually written instead: ``if not seen(id): handle(); note(id)``."""
    together, seen = threading.Barrier(2), set[str]()

    def sent(message: Message) -> None:
        new = message.id not in seen
        together.wait(20)
        if new:
            works.done[message.id] += 1
            seen.add(message.id)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sent, [Message("a")] * 2))
    assert works.done == {"a": 2}


def test_a_thousand_tasks_of_one_loop_are_fifty_effects(works: Works) -> None:
    @works.consumer(wait="2s")
    async def sent(message: Message) -> int:
        works.done[message.id] += 1
        await asyncio.sleep(0.01)
        return 1

    async def deliver(number: int) -> int:
        while True:
            try:
                return await sent(Message(f"m-{number % MESSAGES}"))  # type: ignore[no-any-return]
            except IdempotencyInProgress:
                await asyncio.sleep(0.05)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(deliver(number) for number in range(DELIVERIES)))

    assert asyncio.run(all_at_once()) == [1] * DELIVERIES
    assert sorted(works.done.values()) == [1] * MESSAGES
