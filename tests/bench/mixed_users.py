"""Users of the mixed soak: each knows what its session must hold, whatever releases have served it.

What a request did that was answered with 503 is unknown until the next answer that says so: a paused Redis carries out
what it had received when it runs on. Then the old and the new value are both allowed, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

ABSENT = "absent"
"""Allowed: the attribute is not there."""


@dataclass
class Told:
    """An answer as the soak sees it."""

    status: int
    cookies: list[str]
    body: dict[str, Any]
    announced: bool = False


class Server(Protocol):
    """One worker of one release."""

    release: str
    merges: bool
    """It is of a release that knows operations and devices."""

    async def ask(self, method: str, path: str, query: dict[str, str], cookie: str) -> Told: ...


@dataclass
class Tally:
    """What all users have seen."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def fault(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        self.examples.setdefault(kind, []).append(example)


@dataclass
class World:
    """What users need of the soak.

    Attributes:
        servers: returns the workers of a group that serve now.
        tally: what is counted.
        calm: Redis is there and will stay for the next request: changes may be left to the answer's leave.
        leaving: requests under way that leave their change to it.
        limit: requests at a time.
    """

    servers: Callable[[str], Sequence[Server]]
    tally: Tally
    limit: asyncio.Semaphore
    random: random.Random
    calm: bool = True
    outage: bool = False
    leaving: int = 0


class User:
    """One browser, one session.

    Args:
        name: who logs in.
        group: whose servers serve.
        world: the soak.
    """

    def __init__(self, name: str, group: str, world: World) -> None:
        self.name, self.group, self.world = name, group, world
        self.jar: dict[str, str] = {}
        self.fields: dict[str, set[str]] = {}
        self.sums: dict[str, tuple[int, int]] = {}
        self.inside = False
        self.number = 0
        self.history: deque[str] = deque(maxlen=14)

    async def act(self) -> None:
        """Do one thing a user does, then look whether everything is there."""
        weights: dict[Callable[[], Awaitable[None]], int] = {
            self.write: 4, self.write_at_once: 4, self.add_at_once: 2, self.change: 1, self.log_out: 1,
            self.end_others: 1,
        }  # fmt: skip
        if not self.inside:
            weights = {self.write: 2, self.log_in: 3}
        (action,) = self.world.random.choices(list(weights), list(weights.values()))
        async with self.world.limit:
            self.world.tally.counts[action.__name__] += 1
            await action()
            await self.check(action.__name__)

    # What users do

    async def write(self) -> None:
        """Write one attribute."""
        server = self.server()
        await self._write(server, f"{server.release}.{self.number % 3}", explicit=self.number % 2 == 0)

    async def write_at_once(self) -> None:
        """Write different attributes from two tabs, while a third only reads."""
        servers = [self.server() for _ in range(2)]
        names = [f"tab{place}.{server.release}" for place, server in enumerate(servers)]
        looks = self.ask(self.server(), "GET", "see")
        await asyncio.gather(looks, *(self._write(*pair) for pair in zip(servers, names, strict=True)))

    async def add_at_once(self) -> None:
        """Add from several tabs to one number: the sum is exact."""
        servers = [server for server in self.world.servers(self.group) if server.merges]
        if not servers or not self.inside:
            return
        given = {"operation": "add", "name": "sum", "value": "1", "keep": "1"}
        adding = (self.ask(self.world.random.choice(servers), "POST", "merge", **given) for _ in range(4))
        low, high = self.sums.get("sum", (0, 0))
        for answer in await asyncio.gather(*adding):
            sure = answer.status == 200
            low, high = low + sure, high + (sure or answer.status == 503)
            self._expect(answer, "merge", 200, 503)
        self.sums["sum"] = (low, high)

    async def change(self) -> None:
        """Get a new id after a change of privilege, while another tab writes.

        A change that the leave finds too late is dropped with a 200, so the other tab saves explicitly. On Django it
        waits: Django sets its cookie with every save, and of two answers the browser believes the last. Where Redis
        does not answer, nobody knows which id leads on, so nobody does it in the pause.
        """
        if not self.world.calm:
            return
        self.world.leaving += 1
        await self.ask(self.server(), "GET", "see")  # a periodic rotation that is due comes first, and has its grace
        other = asyncio.create_task(self._write(self.server(), "beside", explicit=True))
        if self.group == "django":
            await other
        await self.ask(self.server(), "POST", "rotate")
        await other
        self.world.leaving -= 1

    async def log_in(self) -> None:
        """Log in, while another tab reads; again until it has worked. The id of before learns nothing of it."""
        before = dict(self.jar)
        late = self.ask(self.server(), "GET", "see")
        answer, read = await asyncio.gather(self.again("login", user=self.name), late)
        if read.status == 200 and read.body["user"] is not None:
            self.world.tally.fault("fixation", f"{self.name}: {read.body}")
        self.inside = answer.status == 200
        if before and before != self.jar:
            planted = await self._look(before)
            if planted is not None and planted["user"] is not None:
                self.world.tally.fault("fixation", f"{self.name}: {planted}")

    async def log_out(self) -> None:
        """Log out, while another tab writes: nothing of the session is there afterwards."""
        before, fate = dict(self.jar), self._write(self.server(), "late")
        _, answer = await asyncio.gather(fate, self.again("logout"))
        if answer.status != 200:
            return
        self.inside, self.fields, self.sums, self.jar = False, {}, {}, {}
        for server in self.world.servers(self.group):
            seen = await self._look(before, server)
            if seen is not None and (seen["user"] is not None or seen["fields"]):
                self.world.tally.fault("resurrected", f"{self.name} at {server.release}: {seen}")

    async def end_others(self) -> None:
        """Log in on another device, and log out everywhere else from this one."""
        ours = [server for server in self.world.servers(self.group) if server.merges]
        if not ours:
            return
        other = User(self.name, self.group, self.world)
        if (await other.again("login", user=self.name)).status != 200:
            return
        if (await self.again("everywhere", servers=ours)).status != 200:
            return
        for server in (*ours, *self.world.servers(self.group)):
            seen = await other._look(other.jar, server)
            if seen is None:
                break  # 503; the release before may serve on what none of ours has met
            if seen["user"] is not None:
                self.world.tally.fault("resurrected", f"{self.name}'s device at {server.release}: {seen}")

    async def check(self, after: str) -> None:
        """Look at the whole session, on whichever release."""
        server = self.server()
        answer = await self.ask(server, "GET", "see")
        if self._expect(answer, "see", 200, 503) != 200:
            return
        where, tally = f"{self.name}, {self.group}, after {after}: {' '.join(self.history)}", self.world.tally
        tally.counts["checked"] += 1
        if (answer.body["user"] is not None) != self.inside:
            tally.fault("logged out" if self.inside else "resurrected", f"{where}: {answer.body}, {self.jar}")
            self.inside = answer.body["user"] is not None
        self._compare(answer.body["fields"], where)

    def _compare(self, found: dict[str, Any], where: str) -> None:
        tally = self.world.tally
        low, high = self.sums.get("sum", (0, 0))
        total = found.pop("sum", 0)
        tally.counts["fields compared"] += len(self.fields) + bool(self.sums)
        if not low <= total <= high:
            tally.fault("lost", f"{where}: sum {total}, not {low} to {high}")
        self.sums = {"sum": (total, total)}
        for name, allowed in self.fields.items():
            value = found.pop(name, ABSENT)
            if value not in allowed:
                tally.fault("lost", f"{where}: {name} is {value}, not {allowed}")
            self.fields[name] = {value}
        if found:
            tally.fault("resurrected", f"{where}: {found}")

    # How they ask

    def server(self) -> Server:
        return self.world.random.choice(self.world.servers(self.group))

    async def _write(self, server: Server, name: str, *, explicit: bool = False) -> None:
        """Write an attribute: saved explicitly, or with the leave while Redis is known to stay."""
        self.number += 1
        value, calm = f"{self.name}.{self.number}", self.world.calm and not explicit
        self.world.leaving += calm
        before = self.fields.get(name, {ABSENT})
        self.fields[name] = before | {value}
        answer = await self.ask(server, "POST", "put" if calm else "keep", name=name, value=value)
        self.world.leaving -= calm
        # 409, and Django's 400: another tab has logged in or out meanwhile, and nothing was written
        status = self._expect(answer, "write", 200, 503, 409, 400)
        self.fields[name] = {value} if status == 200 else before if status in (409, 400) else before | {value}

    async def again(self, path: str, servers: Sequence[Server] = (), **query: str) -> Told:
        """Ask until it is answered with something else than 503, as users do."""
        for _ in range(200):
            server = self.world.random.choice(servers) if servers else self.server()
            answer = await self.ask(server, "POST", path, **query)
            if self._expect(answer, path, 200, 503) != 503:
                break
            await asyncio.sleep(0.25)
        return answer

    async def ask(self, server: Server, method: str, path: str, **query: str) -> Told:
        """Ask with the cookies of now, and take those of the answer as a browser does."""
        answer = await server.ask(method, path, query, _header(self.jar))
        self.history.append(f"{path}@{server.release}:{answer.status}{'c' if answer.cookies else ''}")
        for line in answer.cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" in line.lower():
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        return answer

    async def _look(self, jar: dict[str, str], server: Server | None = None) -> dict[str, Any] | None:
        """What somebody sees who has these cookies."""
        answer = await (server or self.server()).ask("GET", "see", {}, _header(jar))
        return answer.body if answer.status == 200 else None

    def _expect(self, answer: Told, what: str, *statuses: int) -> int:
        tally = self.world.tally
        tally.counts["requests"] += 1
        if answer.status == 503 and answer.announced and self.world.outage:
            tally.counts["announced 503"] += 1
        elif answer.status == 503 or answer.status not in statuses:
            tally.fault(
                "unexpected answer",
                f"{what} of {self.name}: {answer.status} {json.dumps(answer.body)[:200]} {' '.join(self.history)}",
            )
        return answer.status


def _header(jar: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in jar.items())
