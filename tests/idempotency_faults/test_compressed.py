"""A client that compresses its request anew for each attempt: the same request, on both interfaces."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from flask import Flask, request
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import ROOMY, SECRET
from zdd_fastapi import ZddMiddleware
from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.store.engine import Engine


class Shop:
    """One that decompresses, as few frameworks do by themselves."""

    def __init__(self, url: str) -> None:
        self.zdd = ZeroDowntime("shop", environment="test", redis_url=url, secret=(SECRET,), store=ROOMY)
        self.sold: list[Any] = []

    def sell(self, data: bytes) -> dict[str, int]:
        self.sold.append(json.loads(gzip.decompress(data)))
        return {"number": len(self.sold)}

    def decorate(self, function: Any) -> Any:
        return self.zdd.idempotent(operation="orders", effects="unsafe", principal="anonymous")(function)


def asgi(shop: Shop) -> Any:
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=shop.zdd)

    async def create(request: Request) -> dict[str, int]:
        return shop.sell(await request.body())

    app.post("/orders")(shop.decorate(create))
    client = TestClient(app)
    return lambda data, headers: client.post("/orders", content=data, headers=headers).status_code


def wsgi(shop: Shop) -> Any:
    app = Flask("shop")
    Zdd(app, shop.zdd)

    def create() -> dict[str, int]:
        return shop.sell(request.get_data())

    app.post("/orders")(shop.decorate(create))
    client = app.test_client()
    return lambda data, headers: client.post("/orders", input_stream=io.BytesIO(data), headers=headers).status_code


@pytest.mark.parametrize("interface", [asgi, wsgi])
def test_compressed_anew_it_is_the_same_request(real_engine: Engine, interface: Any) -> None:
    shop = Shop(real_engine.url)
    send = interface(shop)

    def post(body: Any, mtime: int, **headers: str) -> int:
        data = gzip.compress(json.dumps(body).encode(), mtime=mtime)
        said = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Idempotency-Key": "k"}
        return int(send(data, {**said, "Content-Encoding": "gzip", **headers}))

    assert post({"sku": "tea", "amount": 1}, 1) == 200
    assert post({"amount": 1, "sku": "tea"}, 2) == 200
    assert post({"sku": "mug", "amount": 1}, 1) == 422
    assert post({"sku": "tea", "amount": 1}, 3, **{"Content-Encoding": "br"}) == 422, "control: as bytes it is another"
    assert shop.sold == [{"sku": "tea", "amount": 1}]
