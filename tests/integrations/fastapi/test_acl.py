"""Everything works for a Redis user who may do no more than `zdd doctor --acl` says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from zdd_fastapi import UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.store import Call, finish
from zdd_sdk.store.acl import COMMANDS, acl_line
from zdd_sdk.store.engine import Engine, start_engine

SERVICE, ENVIRONMENT = "shop", "test"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with start_engine("real") as engine:
        yield engine


def allow(engine: Engine, commands: tuple[str, ...] = COMMANDS) -> str:
    """Make the user, and return the URL that logs in as it."""
    _, user, *rules = acl_line(SERVICE, ENVIRONMENT, password="p").split()
    kept = [rule for rule in rules if not rule.startswith("+") or rule[1:] in commands]
    engine.ask("ACL", "SETUSER", user, *kept)
    return engine.url.replace("redis://", f"redis://{user}:p@")


@contextmanager
def serving(url: str) -> Iterator[tuple[ZeroDowntime, TestClient]]:
    zdd = ZeroDowntime(
        SERVICE,
        environment=ENVIRONMENT,
        redis_url=url,
        secret=("s" * 40,),
        fleet={"pulse": "50ms", "ttl": "1s", "role": "web"},
        sessions={"rotate_every": "1m"},
    )
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/login")
    async def login(session: UserSession) -> None:
        session["cart"] = ["pen"]
        session.login("ada")

    @app.get("/me")
    async def me(session: UserSession) -> dict[str, Any]:
        return {"user": session.user, "cart": session.get("cart")}

    @app.post("/change")
    async def change(session: UserSession) -> None:
        session["cart"].append("ink")
        session["gone"] = 1
        await session.save()
        del session["gone"]

    @app.post("/others")
    async def others(session: UserSession) -> bool:
        await session.logout_everywhere()
        (device,) = await session.devices()
        return await session.logout_device(device.handle)

    @app.post("/logout")
    async def logout(session: UserSession) -> None:
        session.logout()

    for effects in ("external", "unsafe"):
        decorate = zdd.idempotent(operation=effects, effects=effects, principal="anonymous", required=False)  # type: ignore[arg-type]
        app.post(f"/{effects}")(decorate(lambda: "done" * 500))

    with TestClient(app, raise_server_exceptions=False) as client:
        yield zdd, client


def play(client: TestClient) -> list[int]:
    answers = [client.post("/login"), client.get("/me"), client.post("/change"), client.post("/login")]
    answers += [client.post("/others"), client.post("/login")]
    answers += [client.post(f"/{one}", headers={"Idempotency-Key": "k"}) for one in ("external", "unsafe") * 2]
    return [answer.status_code for answer in (*answers, client.get("/me"), client.post("/logout"))]


def test_sessions_pulse_and_doctor_need_no_more(engine: Engine) -> None:
    url = allow(engine)

    with serving(url) as (zdd, client):
        assert [200] * 12 == play(client)
        until(lambda: len(zdd.fleet.view.workers) == 1)
        rotate(zdd, engine, client)
        assert {"sessions": ("1", "rotations"), "idempotency": ("1",)} == zdd.fleet.view.workers[0].capabilities
        finish(zdd.stores.blocking.ask(Call(read=bytes, command=("INFO",))))
        denied = engine.ask("ACL", "LOG")
    assert [] == denied


def rotate(zdd: ZeroDowntime, engine: Engine, client: TestClient) -> None:
    """Have the session's id grow old, and the fleet agree that all can follow."""
    until(lambda: zdd.fleet.view.known, seconds=30)
    client.post("/login")
    before = client.cookies["zdd_session"]
    key = zdd.sessions.keeper.key(parse_id(before))
    engine.ask("HSET", key, "_r", 1)
    assert {"user": "ada", "cart": ["pen"]} == client.get("/me").json()
    assert before != client.cookies["zdd_session"]
    assert 1 == zdd.sessions.counters["rotations"]


@pytest.mark.parametrize("missing", ["hset", "hgetall", "exists", "zadd"])
def test_less_is_not_enough(engine: Engine, missing: str) -> None:
    url = allow(engine, tuple(command for command in COMMANDS if command != missing))

    with serving(url) as (_, client):
        play(client)
        until(lambda: bool(engine.ask("ACL", "LOG")))


def test_keys_of_others_are_out_of_reach(engine: Engine) -> None:
    engine.ask("SET", "somebody:elses", "x")
    url = allow(engine)
    zdd = ZeroDowntime(SERVICE, environment=ENVIRONMENT, redis_url=url, secret=("s" * 40,))

    with pytest.raises(Exception, match="NOPERM"):
        finish(zdd.stores.blocking.ask(Call(read=bytes, command=("GET", "somebody:elses"), keys=("somebody:elses",))))
    zdd.stores.close()


def until(holds: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)
