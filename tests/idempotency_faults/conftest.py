"""`World`: services that share a Redis and a ledger of what they really did; counted there, never in our records."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency import current

SECRET = "s" * 40
PATIENCE = 30.0
ROOMY = {"connect_timeout": "5s", "operation_timeout": "5s", "total_timeout": "10s"}
BODY = {"sku": "tea", "amount": 7}


class Order(BaseModel):
    sku: str
    amount: int


@dataclass
class Ledger:
    """What was really done.

    Attributes:
        runs: names of the services that have run the endpoint.
        charges: how often each key of our own downstream was charged; who gets one twice charges once.
        entered: a run has begun.
        gate: open unless a test holds it: runs wait here, after their effect.
    """

    runs: list[str] = field(default_factory=list)
    charges: Counter[str] = field(default_factory=Counter)
    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def pay(self, service: str) -> dict[str, str]:
        """Charge downstream, then stand still as long as the gate is closed."""
        context = current()
        child = context.child_key("charge") if context else f"none-{len(self.runs)}"
        self.runs.append(service)
        self.charges[child] += 1
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return {"by": service}


class Service:
    """One worker: a FastAPI application, its client, and the threads its clients wait in."""

    def __init__(self, name: str, url: str, ledger: Ledger, options: dict[str, Any], said: dict[str, Any]) -> None:
        idempotency = {"lease": "30s", **options.pop("idempotency", {})}
        fleet = {"role": "web", "pulse": "100ms", **options.pop("fleet", {})}
        options = {"secret": (SECRET,), "store": ROOMY, **options}
        self.zdd = ZeroDowntime(
            "shop", environment="test", redis_url=url, idempotency=idempotency, fleet=fleet, **options
        )
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)
        for effects in ("external", "unsafe", "pure"):
            self._add(f"/{effects}", name, ledger, {"effects": effects, **said})
        self._threads = ThreadPoolExecutor(4)
        self._client = TestClient(self.app, raise_server_exceptions=False)

    def _add(self, path: str, name: str, ledger: Ledger, said: dict[str, Any]) -> None:
        options: dict[str, Any] = {"principal": "anonymous", **said}

        @self.app.post(path)
        @self.zdd.idempotent(operation=path[1:], **options)
        def endpoint(order: Order) -> dict[str, str]:
            return ledger.pay(name)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__(None, None, None)
        self._threads.shutdown()

    def post(self, path: str = "/unsafe", key: str = "k", body: Any = None, **headers: str) -> Any:
        """Send a request with a key."""
        return self._client.post(path, json=BODY if body is None else body, headers={"Idempotency-Key": key, **headers})

    def begin(self, path: str = "/unsafe", key: str = "k") -> Future[Any]:
        """Send one in a thread of its own."""
        return self._threads.submit(self.post, path, key)

    def settled(self, path: str = "/unsafe", key: str = "k", seconds: float = PATIENCE) -> Any:
        """Send it again as a client does: as long as the answer says that it should."""
        end = time.monotonic() + seconds
        while True:
            answer = self.post(path, key)
            if answer.headers.get("x-should-retry") != "true" or time.monotonic() > end:
                return answer
            time.sleep(0.05)


class World:
    """Services, and what they have done together."""

    def __init__(self, stack: ExitStack) -> None:
        self.ledger = Ledger()
        self._stack = stack

    def service(self, name: str, url: str, *, said: dict[str, Any] | None = None, **options: Any) -> Service:
        """Start one."""
        return self._stack.enter_context(Service(name, url, self.ledger, options, said or {}))

    @property
    def runs(self) -> list[str]:
        """Who has run the endpoint, in order."""
        return self.ledger.runs

    def cut_off(self, service: Service, path: str = "/unsafe", key: str = "k") -> Future[Any]:
        """Begin a run that stays in the middle until `finish`."""
        self.ledger.gate.clear()
        self.ledger.entered.clear()
        answer = service.begin(path, key)
        assert self.ledger.entered.wait(PATIENCE)
        return answer

    def finish(self, answer: Future[Any]) -> Any:
        """Let runs end; returns the answer of one."""
        self.ledger.gate.set()
        return answer.result(PATIENCE)


@pytest.fixture
def world() -> Iterator[World]:
    """Nothing runs yet."""
    with ExitStack() as stack:
        opened = World(stack)
        yield opened
        opened.ledger.gate.set()


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that the pulse does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
