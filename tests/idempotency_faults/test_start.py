"""What a service with idempotent endpoints refuses at its start, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from flask import Flask
from flask_cors import CORS
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import SECRET
from zdd_fastapi import ZddMiddleware
from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency.browser import READ
from zdd_sdk.store.engine import Engine

OFF, ON_REQUEST = {"role": "web", "enabled": False}, {"role": "web", "pulse_mode": "request"}


def serve(url: str, **options: Any) -> int:
    zdd = ZeroDowntime("shop", environment="test", redis_url=url, secret=(SECRET,), **options)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/orders")
    @zdd.idempotent(operation="orders.create", effects="external", principal="anonymous")
    async def create() -> None: ...

    with TestClient(app) as client:
        return client.post("/orders", headers={"Idempotency-Key": "k"}).status_code


@pytest.mark.parametrize("fleet", [OFF, ON_REQUEST], ids=["off", "on request"])
def test_a_worker_that_does_not_renew_its_leases_refuses_to_serve(real_engine: Engine, fleet: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"leases are not renewed.*15 s.*set idempotency\.lease"):
        serve(real_engine.url, fleet=fleet)
    assert serve(real_engine.url, fleet=fleet, idempotency={"lease": "2m"}) == 200


@pytest.mark.parametrize("fleet", [{"role": "web"}, {"role": "test"}, {"role": "test", "enabled": False}], ids=str)
def test_control_one_that_does_and_a_test_serve(real_engine: Engine, fleet: dict[str, Any]) -> None:
    assert serve(real_engine.url, fleet=fleet) == 200


ENOUGH: dict[str, Any] = {"allow_headers": ["idempotency-key"], "expose_headers": list(READ)}
GAPS = [
    ({}, "expose_headers lacks Idempotency-Key-Lifetime, Idempotency-Stored, Idempotent-Replayed, Retry-After"),
    ({**ENOUGH, "allow_headers": ["x-mine"]}, "allow_headers lacks Idempotency-Key"),
    ({**ENOUGH, "expose_headers": READ[:-1]}, "expose_headers lacks x-should-retry"),
    (ENOUGH, ""),
]


def fastapi(zdd: ZeroDowntime, cors: dict[str, Any], *, keys: bool) -> None:
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], **cors)

    async def create() -> None: ...

    app.post("/orders")(_decorated(zdd, create) if keys else create)
    with TestClient(app):
        pass


def flask(zdd: ZeroDowntime, cors: dict[str, Any], *, keys: bool) -> None:
    app = Flask("shop")
    Zdd(app, zdd)
    CORS(app, origins="https://a.example", **cors)

    def create() -> str:
        return ""

    app.post("/orders")(_decorated(zdd, create) if keys else create)
    app.test_client().post("/orders")


def _decorated(zdd: ZeroDowntime, function: Any) -> Any:
    return zdd.idempotent(operation="orders.create", effects="external", principal="anonymous")(function)


@pytest.mark.parametrize("serve", [fastapi, flask])
@pytest.mark.parametrize(("cors", "gap"), GAPS)
def test_cors_that_hides_what_a_client_needs_is_said(
    real_engine: Engine, caplog: pytest.LogCaptureFixture, serve: Any, cors: dict[str, Any], gap: str
) -> None:
    zdd = ZeroDowntime("shop", environment="test", redis_url=real_engine.url, secret=(SECRET,))
    serve(zdd, cors, keys=True)
    said = [record.getMessage() for record in caplog.records if "other origins" in record.getMessage()]
    assert len(said) == bool(gap)
    assert not gap or gap in said[0]


@pytest.mark.parametrize("serve", [fastapi, flask])
def test_control_without_keys_nothing_is_said(
    real_engine: Engine, caplog: pytest.LogCaptureFixture, serve: Any
) -> None:
    zdd = ZeroDowntime("shop", environment="test", redis_url=real_engine.url, secret=(SECRET,))
    serve(zdd, {}, keys=False)
    assert "other origins" not in caplog.text
