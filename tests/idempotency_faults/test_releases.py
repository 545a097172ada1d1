"""Release N and N+1 at the same time: no retry is taken for another request, and none runs twice."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import BODY, SECRET, World
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.store.engine import Engine

NEW = "n" * 40
SKU, ALL = ("sku",), None


def amount(bound: Any) -> Any:
    return bound["order"].amount


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "selected fields": ({}, {"said": {"fingerprint": [SKU, ALL]}}),
    "another selection": ({"said": {"fingerprint": SKU}}, {"said": {"fingerprint": [("amount", "sku"), SKU]}}),
    "a function": ({"said": {"fingerprint": SKU}}, {"said": {"fingerprint": [amount, SKU]}}),
    "a secret that reads": ({}, {"secret": (SECRET, NEW)}),
    "a secret that writes": ({"secret": (SECRET, NEW)}, {"secret": (NEW, SECRET)}),
    "a secret at once": ({}, {"secret": (NEW, SECRET)}),
    "a secret that is gone": ({"secret": (NEW, SECRET)}, {"secret": (NEW,)}),
    "both": ({"secret": (SECRET, NEW)}, {"secret": (NEW, SECRET), "said": {"fingerprint": [SKU, ALL]}}),
}


@pytest.mark.parametrize("newer_first", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_retry_meets_its_first_request(world: World, real_engine: Engine, pair: str, *, newer_first: bool) -> None:
    first, second = reversed(PAIRS[pair]) if newer_first else PAIRS[pair]
    one = world.service("one", real_engine.url, fleet={"role": "test"}, **first)
    two = world.service("two", real_engine.url, fleet={"role": "test"}, **second)
    running = world.cut_off(one)
    assert two.post().json()["type"] == "urn:zdd:idempotency-in-progress"
    answer = world.finish(running)
    for service in (two, one):
        again = service.post()
        assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (200, answer.content, "true")
    other = two.post(body={**BODY, "sku": "mug", "amount": 8})
    assert (other.status_code, other.json()["type"]) == (422, "urn:zdd:idempotency-key-reused")
    assert world.runs == ["one"]


def test_control_a_fingerprint_that_forgets_the_old_one_refuses_honest_retries(
    world: World, real_engine: Engine
) -> None:
    one = world.service("one", real_engine.url, fleet={"role": "test"})
    two = world.service("two", real_engine.url, fleet={"role": "test"}, said={"fingerprint": SKU})
    assert (one.post().status_code, two.post().status_code) == (200, 422)


def test_control_a_secret_without_the_old_one_runs_it_again(world: World, real_engine: Engine) -> None:
    one = world.service("one", real_engine.url, fleet={"role": "test"})
    two = world.service("two", real_engine.url, fleet={"role": "test"}, secret=(NEW,))
    assert (one.post().status_code, two.post().status_code) == (200, 200)
    assert world.runs == ["one", "two"]


class User(BaseModel):
    id: str


class Customer(BaseModel):
    number: int


def by_user(request: Request) -> User:
    return User(id=request.headers["x-user"])


def by_customer(request: Request) -> Customer:
    return Customer(number=int(request.headers["x-user"]))


def test_whose_keys_they_are_is_a_value_so_renaming_its_parameter_forgets_nothing(real_engine: Engine) -> None:
    done: list[str] = []

    def release(principal: str) -> FastAPI:
        zdd = ZeroDowntime("shop", environment="test", redis_url=real_engine.url, secret=(SECRET,))
        app = FastAPI()
        app.add_middleware(ZddMiddleware, zdd=zdd)
        decorate = zdd.idempotent(operation="pay", effects="unsafe", principal=principal)

        async def of_user(user: Annotated[User, Depends(by_user)]) -> None:
            done.append(user.id)

        async def of_customer(customer: Annotated[Customer, Depends(by_customer)]) -> None:
            done.append(str(customer.number))

        app.post("/pay")(decorate(of_user if principal == "user.id" else of_customer))
        return app

    for principal in ("user.id", "customer.number", "user.id"):
        with TestClient(release(principal)) as client:
            for user in ("7", "8"):
                assert client.post("/pay", headers={"Idempotency-Key": "k", "x-user": user}).status_code == 200
    assert done == ["7", "8"]
