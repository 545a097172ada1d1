"""A thousand requests at once with fifty keys."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
from fastapi import FastAPI
from redis.asyncio import BlockingConnectionPool, Redis

from tests.idempotency_faults.conftest import SECRET, Order
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.store.engine import Engine

REQUESTS, KEYS = 1000, 50
PATIENT = {"connect_timeout": "60s", "operation_timeout": "60s", "total_timeout": "120s"}
"""They all wait for the same 32 connections, on whatever machine."""


def application(url: str, done: Counter[str]) -> FastAPI:
    zdd = ZeroDowntime(
        "shop", environment="test", redis_url=url, secret=(SECRET,), store=PATIENT, idempotency={"lease": "1h"}
    )
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/orders")
    @zdd.idempotent(operation="orders.create", effects="unsafe", principal="anonymous")
    async def create(order: Order) -> dict[str, int]:
        return await effect(order, done)

    return app


async def effect(order: Order, done: Counter[str]) -> dict[str, int]:
    await asyncio.sleep(0.001)
    done[order.sku] += 1
    return {"number": done[order.sku]}


async def storm(app: FastAPI) -> list[httpx.Response]:
    """All of them at once; each client sends its request again as long as it is told to."""
    transport = httpx.ASGITransport(app)

    async def client(number: int) -> httpx.Response:
        body, headers = {"sku": f"sku-{number % KEYS}", "amount": 1}, {"Idempotency-Key": f"key-{number % KEYS}"}
        while True:
            answer = await http.post("/orders", json=body, headers=headers)
            if answer.headers.get("x-should-retry") != "true":
                return answer
            await asyncio.sleep(float(answer.headers["retry-after"]))

    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        return await asyncio.gather(*map(client, range(REQUESTS)))


def naive(url: str, done: Counter[str]) -> FastAPI:
    """Look whether there is an answer, else do it and keep it: what is written by hand."""
    patient = {"socket_connect_timeout": 60, "socket_timeout": 60, "timeout": 120}
    pool = BlockingConnectionPool.from_url(url, max_connections=8, **patient)
    app, redis = FastAPI(), Redis(connection_pool=pool)

    @app.post("/orders")
    async def create(order: Order) -> dict[str, int]:
        if kept := await redis.get(order.sku):
            return {"number": int(kept)}
        answer = await effect(order, done)
        await redis.set(order.sku, answer["number"])
        return answer

    return app


def test_a_thousand_requests_with_fifty_keys_have_fifty_effects(real_engine: Engine) -> None:
    done: Counter[str] = Counter()
    answers = asyncio.run(storm(application(real_engine.url, done)))
    assert done == {f"sku-{number}": 1 for number in range(KEYS)}
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, b'{"number":1}')}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == KEYS


def test_control_looking_before_doing_has_more(real_engine: Engine) -> None:
    done: Counter[str] = Counter()
    asyncio.run(storm(naive(real_engine.url, done)))
    assert done.total() > KEYS
