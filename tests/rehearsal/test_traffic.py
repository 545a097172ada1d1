"""What users do with their connections and their time, against a server that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from tests.rehearsal.harness import Silent, plan
from zdd_sdk.rehearsal.deploy.strategies import in_place, rolling
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.routers.kube import KubeRouter
from zdd_sdk.rehearsal.scenario import load_scenario
from zdd_sdk.rehearsal.traffic import Traffic

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Counting:
    """A server that counts connections and requests, and may hang up instead of answering."""

    answers: bool = True
    connections: int = 0
    requests: int = 0
    open: list[asyncio.StreamWriter] = field(default_factory=list)

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                if not self.answers:
                    return
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def visited(server: Counting, seconds: float, **more: Any) -> Recorder:
    """Let one user look at the server for so long."""
    made = msgspec.structs.replace(plan("x {port}", scenario="glance.py"), users=1, **more)

    async def play() -> Recorder:
        listener = await asyncio.start_server(server.attend, "127.0.0.1", 0)
        router, recorder = KubeRouter(nodes=1, lag=0.0, seed=1), Recorder(Silent())
        await router.start([Backend("one", port=listener.sockets[0].getsockname()[1])])
        traffic = Traffic(made, load_scenario(made.scenario), router, recorder)
        asyncio.get_running_loop().call_later(seconds, traffic.stop)
        await traffic.run()
        listener.close()
        return recorder

    return asyncio.run(play())


def test_an_unused_connection_is_closed_only_where_the_plan_says_so() -> None:
    kept, closed = Counting(), Counting()
    visited(kept, 1.0, think=0.1)
    visited(closed, 1.0, think=0.1, idle=0.01)
    assert (kept.connections, kept.requests > 2) == (1, True)
    assert closed.connections == closed.requests > 2


def test_without_a_pause_requests_follow_one_another() -> None:
    busy = Counting()
    visited(busy, 0.5, think=0.0)
    assert busy.requests > 20


def test_a_user_without_a_pause_does_not_hammer_a_server_that_hangs_up() -> None:
    dead = Counting(answers=False)
    found = visited(dead, 0.55, think=0.0)
    assert {sample.failure for sample in found.samples} == {"reset"}
    assert 2 <= len(found.samples) <= 6, "one at once, then one each 0.1 s"


@pytest.mark.parametrize("strategy", [in_place, rolling])
def test_a_new_instance_serves_for_a_while_before_the_next_is_touched(
    strategy: Callable[[Any, Any, Any], Awaitable[None]],
) -> None:
    ground = _Ground()
    asyncio.run(strategy(ground, "old", "new"))
    admitted = [place for place, step in enumerate(ground.steps) if step == "admit"]
    assert len(admitted) == 2
    assert all(ground.steps[place + 1] == "hold 7" for place in admitted)


class _Ground:
    """Two instances, and what is done with them in order."""

    def __init__(self) -> None:
        self.plan = msgspec.structs.replace(plan("x {port}"), min_ready=7)
        self.steps: list[str] = []

    def serving(self, side: str) -> list[Any]:
        instance = type("Instance", (), {"id": "one", "record": type("Record", (), {"port": 1})})
        return [instance, instance]

    async def start(self, side: str, **_: Any) -> list[Any]:
        return self.serving(side)[:1]

    def admit(self, *_: Any) -> None:
        self.steps.append("admit")

    def retire(self, *_: Any) -> None:
        self.steps.append("retire")

    def note(self, _: str) -> None: ...

    async def gone(self, *_: Any) -> None: ...

    async def hold(self, seconds: float) -> None:
        self.steps.append(f"hold {seconds:g}")
