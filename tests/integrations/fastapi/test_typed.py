"""``Typed[Model]`` as FastAPI users have it: injected, loaded once, not in the schema, saved with its rules."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from fastapi import FastAPI

from zdd_fastapi import Typed, UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.sessions import Add, CompareAndSet


class Shop(msgspec.Struct):
    visits: Annotated[int, Add()] = 0
    cart: dict[str, int] = msgspec.field(default_factory=dict)
    state: Annotated[str | None, CompareAndSet()] = None


def build(**options):
    zdd = ZeroDowntime("shop", **options)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/cart/{sku}")
    async def put(shop: Typed[Shop], session: UserSession, sku: str) -> dict[str, int]:
        shop.visits += 1
        shop.cart[sku] = shop.cart.get(sku, 0) + 1
        assert session.typed(Shop).cart is shop.cart
        return shop.cart

    @app.get("/visits")
    def visits(shop: Typed[Shop]) -> int:  # in a thread
        return shop.visits

    @app.post("/wrong")
    async def wrong(shop: Typed[Shop]) -> None:
        shop.visits = "many"

    return app


@pytest.fixture(params=["off", "on"])
def browser(zdd_client, request):
    return zdd_client(build(sessions={"encrypt": request.param}), raise_server_exceptions=False)


def test_it_is_the_request_session(browser):
    for count in (1, 2):
        assert browser.post("/cart/tea").json() == {"tea": count}
    assert browser.get("/visits").json() == 2


def test_a_value_of_another_type_is_a_problem_and_changes_nothing(browser):
    browser.post("/cart/tea")
    answer = browser.post("/wrong")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:zdd:session-value")
    assert browser.get("/visits").json() == 1


def test_clients_are_not_told_of_it():
    parameters = build().openapi()["paths"]["/cart/{sku}"]["post"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["sku"]
