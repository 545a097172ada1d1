"""What others do with a key, each in front of the same call downstream: those of them that are installed.

None of them can give the one who is called a key that a second run would give again, so each call is an effect.
"""

from __future__ import annotations

import asyncio
import importlib.util
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.bench.kills.points import HEADER, waits_at
from tests.bench.kills.service import answer, environ

__all__ = ["PEERS", "PEER_POINTS", "installed"]

PEER_POINTS = ("doing", "done")
LEASE = 1.0
_FOREVER = 3600.0

Key = Annotated[str, Header(alias="idempotency-key")]
Crash = Annotated[str, Header(alias=HEADER)]


async def act(key: str, crash: str) -> dict[str, str]:
    """Have the effect downstream, and stop where the request says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(environ("DOWNSTREAM")))
    writer.write(f"peer {key} {uuid.uuid4().hex}\n".encode())
    for point in PEER_POINTS:
        if waits_at(crash, point):
            await asyncio.sleep(_FOREVER)
        if point == "doing":
            await reader.readline()
    writer.close()
    return answer(key)


def endpoint() -> FastAPI:
    """Return an application that does it, unprotected."""
    api = FastAPI()

    @api.post("/order")
    async def order(key: Key, crash: Crash = "") -> dict[str, str]:
        return await act(key, crash)

    return api


def idemkit() -> Any:
    """The middleware of idemkit."""
    from idemkit import HttpConfig, IdempotencyMiddleware, RedisBackend

    config = HttpConfig(lease_ttl_seconds=LEASE, scope_mode="single_tenant")
    return IdempotencyMiddleware(endpoint(), backend=RedisBackend.from_url(environ("REDIS")), config=config)


def asgi_idempotency_header() -> Any:
    """The middleware of asgi-idempotency-header; it knows no lease."""
    from idempotency_header_middleware import IdempotencyHeaderMiddleware
    from idempotency_header_middleware.backends import RedisBackend

    return IdempotencyHeaderMiddleware(endpoint(), backend=RedisBackend(redis=AsyncRedis.from_url(environ("REDIS"))))


class Remaining:
    """The context of a Lambda function, of which Powertools asks how long it may still run: its lease."""

    def get_remaining_time_in_millis(self) -> int:
        """Return milliseconds."""
        return int(LEASE * 1000)


def powertools() -> Any:
    """A function with the decorator of Powertools for AWS Lambda, over its Redis layer."""
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
    from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyAlreadyInProgressError
    from aws_lambda_powertools.utilities.idempotency.persistence.cache import CachePersistenceLayer

    config = IdempotencyConfig(lambda_context=Remaining())  # type: ignore[arg-type]
    layer = CachePersistenceLayer(client=Redis.from_url(environ("REDIS")))
    api = FastAPI()

    @idempotent_function(data_keyword_argument="key", persistence_store=layer, config=config)
    def order(key: str, crash: str) -> dict[str, str]:
        return asyncio.run(act(key, crash))

    @api.post("/order")
    def route(key: Key, crash: Crash = "") -> Any:
        try:
            return order(key=key, crash=crash)
        except IdempotencyAlreadyInProgressError:
            return JSONResponse({"type": "in-progress"}, 409)

    return api


PEERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "powertools": ("aws_lambda_powertools", powertools),
    "idemkit": ("idemkit", idemkit),
    "asgi-idempotency-header": ("idempotency_header_middleware", asgi_idempotency_header),
}
"""By name: what to import, and how it is set up."""


def installed() -> list[str]:
    """Return those that are."""
    return [name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module)]


def build() -> Starlette:
    """Serve each under its name."""
    return Starlette(routes=[Mount(f"/{name}", PEERS[name][1]()) for name in installed()])


def __getattr__(name: str) -> Any:
    """Build ``app`` where it is served, and not where its names are read."""
    if name == "app":
        return build()
    raise AttributeError(name)
