"""Clients that send each order again with one key until it is answered, and waves of them that die together."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from tests.bench.kills.points import HEADER, RANDOM
from tests.bench.kills.surroundings import Served
from zdd_sdk.rehearsal.client import RESET, Broken, Line, RawResponse
from zdd_sdk.rehearsal.user import Request, RequestFailed, Response, User, to_response

__all__ = ["Order", "Waves", "once"]

ATTEMPTS = 60
PATIENCE = 60.0
"""Seconds for one attempt; attempts of one order."""

_AGAIN = 1.0
"""Seconds between two kills of a wave that has not come together."""

_LATEST = 0.05
"""Seconds into a wave before it is killed at random, at most; it is when a random number of it has been answered."""


@dataclass
class Order:
    """One request of a client, with what became of it.

    Attributes:
        key: of it.
        point: where it is killed, once; empty: nowhere.
        killed: attempts that broke off.
        answer: the last; ``None``: it has given up.
        again: what the same key is answered later on, if it was asked.
        first: done when it has been killed for the first time, or answered.
    """

    key: str
    point: str = ""
    killed: int = 0
    answer: Response | None = None
    again: Response | None = None
    first: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def met(self) -> None:
        """Note that its wave need not wait for it."""
        if not self.first.done():
            self.first.set_result(None)

    @property
    def told(self) -> str:
        """How it was answered: ``done``, a kind of refusal, a status, or ``nothing``."""
        return told(self.answer)


def told(answer: Response | None) -> str:
    """Name an answer."""
    if answer is None:
        return "nothing"
    if answer.status < 300:
        return "done"
    try:
        return str(answer.json()["type"]).removeprefix("urn:zdd:idempotency-")
    except (ValueError, KeyError, TypeError):
        return str(answer.status)


async def once(port: int, path: str, order: Order, attempts: int = ATTEMPTS, **headers: str) -> None:
    """Send an order until it is answered; ``headers`` with underscores, beside the key."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}

    async def send(user: User, request: Request) -> tuple[RawResponse, str]:
        crash = [(HEADER, order.point)] if order.point and not order.killed else []
        lines = [*request.headers, ("Host", "kills"), ("Connection", "close"), *crash]
        line = Line("127.0.0.1", port)
        try:
            raw = await _exchange(line, request, lines, order)
        finally:
            line.close()
            if order.killed:
                order.met()
        if raw.status >= 400 and raw.status not in request.expect:
            raise RequestFailed(request.method, str(raw.status), to_response(raw, ""))
        return raw, ""

    try:
        order.answer = await User(0, hash(order.key), send).once(path, key=order.key, attempts=attempts, headers=said)
    except RequestFailed as error:
        order.answer = error.response
    order.met()


async def _exchange(line: Line, request: Request, headers: list[tuple[str, str]], order: Order) -> RawResponse:
    try:
        await line.connect()
    except Broken as error:
        raise RequestFailed(request.method, error.kind, None) from error
    try:
        return await line.exchange(request.method, request.path, headers, request.body, patience=PATIENCE)
    except Broken as error:
        order.killed += error.kind == RESET
        raise RequestFailed(request.method, error.kind, None) from error


class Waves:
    """Orders in waves, each of which is killed at one point; what is left of those before goes on beside them.

    Args:
        served: whom to kill.
        path: of the operation.
        size: of a wave.
        gather: seconds in which a wave has to come together; what has not is killed where it is.
        seed: of chance.
        attempts: after which a client gives up.
    """

    def __init__(
        self, served: Served, path: str, *, size: int, gather: float, seed: object, attempts: int = ATTEMPTS
    ) -> None:
        self.orders: list[Order] = []
        self._served, self._path, self._size, self._gather = served, path, size, gather
        self._attempts = attempts
        self._chance = random.Random(str(seed))
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def killed(self) -> int:
        """Requests that were killed at least once."""
        return sum(order.killed > 0 for order in self.orders)

    async def run(self, points: tuple[str, ...], killed: int) -> Counter[str]:
        """Send waves until so many requests have been killed, and wait until all have been answered.

        Returns:
            how many were killed, by the point of their wave.
        """
        met: Counter[str] = Counter()
        for number, point in enumerate(itertools.cycle(points)):
            if self.killed >= killed:
                break
            wave = await self._wave(number, point)
            met[point] += sum(order.killed > 0 for order in wave)
            await self._breathe()
        await asyncio.gather(*self._pending)
        return met

    async def _wave(self, number: int, point: str) -> list[Order]:
        crash = "" if point == RANDOM else f"{point}/{number}/{self._size}"
        wave = [Order(uuid.uuid4().hex, crash) for _ in range(self._size)]
        self.orders += wave
        for order in wave:
            task = asyncio.create_task(self._follow(order))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        waiting = {order.first for order in wave}
        left = 0 if crash else self._chance.randint(1, self._size)
        end = time.monotonic() + self._gather
        await asyncio.sleep(0.0 if crash else self._chance.uniform(0.0, _LATEST))
        while len(waiting) > left and time.monotonic() < end:
            _, waiting = await asyncio.wait(waiting, timeout=self._gather, return_when=asyncio.FIRST_COMPLETED)
        while waiting:  # more than once: whom it meets may have died already, and the next one has the rest of the wave
            self._served.kill()
            _, waiting = await asyncio.wait(waiting, timeout=_AGAIN)
        return wave

    async def _follow(self, order: Order) -> None:
        await once(self._served.port, self._path, order, self._attempts)
        if order.answer is not None and self._chance.random() < 0.2:
            again = Order(order.key)
            await once(self._served.port, self._path, again)
            order.again = again.answer

    async def _breathe(self) -> None:
        """Have no more than a few waves under way."""
        while len(self._pending) > 8 * self._size:
            await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
