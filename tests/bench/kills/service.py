"""What the applications under test share: the service, their operations, and whom they call downstream."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from typing import Any

from tests.bench.kills.points import reach
from zdd_sdk.idempotency import current
from zdd_sdk.store import may_suspend

__all__ = ["CALLING", "answer", "call", "environ", "options", "said"]

ROOMY = {"connect_timeout": "20s", "operation_timeout": "20s", "total_timeout": "40s"}
"""Nothing here is about a slow Redis, however busy the machine is."""

CALLING: dict[str, dict[str, Any]] = {
    "external": {"effects": "external"},
    "unsafe": {"effects": "unsafe"},
    "pure": {"effects": "pure"},
    "external-control": {"effects": "external"},
    "unsafe-control": {"effects": "unsafe", "on_unknown": "takeover"},
}
"""Operations that call downstream. The controls have the policy of others: a lapsed lease is run again, and whoever is
called cannot know that it is the same."""


def environ(name: str) -> str:
    """Return what the harness says of its surroundings."""
    return os.environ[f"KILLS_{name}"]


def options() -> dict[str, Any]:
    """Return the arguments of `ZeroDowntime`."""
    return {
        "service": "kills",
        "environment": "test",
        "secret": ("0123456789" * 4,),
        "redis_url": environ("REDIS"),
        "store": ROOMY,
        "idempotency": {"lease": environ("LEASE")},
        "fleet": {"pulse": "300ms"},
        "sessions": {"enabled": False},
    }


def said(name: str) -> dict[str, Any]:
    """Return what the decorator says of one of them."""
    return {"operation": name, "principal": "anonymous", **CALLING[name]}


def answer(key: str) -> dict[str, str]:
    """Return an answer that another run would not give again."""
    return {"key": key, "run": uuid.uuid4().hex}


async def call(name: str, key: str, seconds: float = 0.0) -> dict[str, str]:
    """Have the effect downstream, stopping while the call is in flight; take so long over it."""
    context = current()
    assert context is not None
    child = context.child_key("charge") if name == "external" else uuid.uuid4().hex
    line, address = f"{name} {key} {child}\n".encode(), ("127.0.0.1", int(environ("DOWNSTREAM")))
    if may_suspend():
        reader, writer = await asyncio.open_connection(*address)
        writer.write(line)
        await reach("doing")
        await reader.readline()
        writer.close()
        await asyncio.sleep(seconds)
    else:
        with socket.create_connection(address, 60) as downstream:
            downstream.sendall(line)
            await reach("doing")
            downstream.recv(64)
        time.sleep(seconds)  # noqa: ASYNC251 - not on a loop
    return answer(key)
