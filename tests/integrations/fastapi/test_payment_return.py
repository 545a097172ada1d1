"""The code of ``docs/how-to/payment-return.md``, and the attacks its table names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from zdd_sdk.store.wire import Wire

PAGE = Path("docs/how-to/payment-return.md").resolve()
PAYMENT = {"origin": "https://gateway.example", "sec-fetch-site": "cross-site"}


@pytest.fixture
def shop(zdd_engine):
    """The page's code, on an engine of this run."""
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(PAGE)
    for example in document.examples():
        example.evaluate()
    return SimpleNamespace(**document.namespace)


@pytest.fixture
def browser(zdd_client, shop):
    """Make browsers of different people."""
    return lambda: zdd_client(shop.app, follow_redirects=False)


def check_out(someone, order="7"):
    (path,) = someone.post(f"/checkout/{order}").json().values()
    return path


def cookies_of(someone):
    return {cookie.name: cookie.value for cookie in someone.cookies.jar}


def from_the_gateway(someone, path):
    """A cross-site POST: the browser keeps its Lax cookie back, and takes what the answer sets."""
    before = cookies_of(someone)
    someone.cookies.clear()
    answer = someone.post(path, headers=PAYMENT)
    assert "set-cookie" not in answer.headers
    for name, value in before.items():
        someone.cookies.set(name, value)
    return answer.status_code, answer.headers["location"]


def test_who_paid_comes_back(browser, shop):
    ann = browser()
    path = check_out(ann)
    before = cookies_of(ann)
    assert from_the_gateway(ann, path) == (303, "/orders/7/thanks")
    assert ann.get("/orders/7/thanks").json() == {"order": "7", "state": "the customer is back"}
    assert cookies_of(ann) == before


def test_a_return_is_worth_one_return(browser, shop):
    ann = browser()
    path = check_out(ann)
    from_the_gateway(ann, path)
    shop.orders["7"] = "shipped"
    assert from_the_gateway(ann, path) == (303, "/orders")
    assert shop.orders["7"] == "shipped"


def test_of_ten_at_once_one_is_taken(browser, shop):
    ann = browser()
    path = check_out(ann)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ann.post(path, headers=PAYMENT).headers["location"], range(10)))
    assert sorted(answers) == ["/orders"] * 9 + ["/orders/7/thanks"]


def test_somebody_elses_return_shows_nothing_and_changes_no_session(browser, shop):
    mallory, victim = browser(), browser()
    path = check_out(mallory, "666")
    check_out(victim, "7")
    before = cookies_of(victim)
    assert from_the_gateway(victim, path) == (303, "/orders/666/thanks")
    assert victim.get("/orders/666/thanks").status_code == 404
    assert (cookies_of(victim), shop.orders["7"]) == (before, "waiting for the payment")


@pytest.mark.parametrize(
    "change",
    [lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"), lambda _: "", lambda token: token + "x"],
    ids=["changed", "empty", "longer"],
)
def test_other_tokens_are_nobodys(browser, shop, zdd_engine, change):
    ann = browser()
    path, _, token = check_out(ann).partition("=")
    assert from_the_gateway(ann, f"{path}={change(token)}") == (303, "/orders")
    assert shop.orders["7"] == "waiting for the payment"
    assert from_the_gateway(ann, f"{path}={token}") == (303, "/orders/7/thanks")


def test_after_its_time_it_is_nobodys(browser, shop, zdd_clock):
    ann = browser()
    path = check_out(ann)
    zdd_clock.advance("16m")
    assert from_the_gateway(ann, path) == (303, "/orders")
    assert shop.orders["7"] == "waiting for the payment"


def test_control_within_its_time_it_is_taken(browser, shop, zdd_clock):
    ann = browser()
    path = check_out(ann)
    zdd_clock.advance("14m")
    assert from_the_gateway(ann, path) == (303, "/orders/7/thanks")


def test_redis_holds_no_token(browser, zdd_engine):
    token = check_out(browser()).partition("=")[2].encode()
    with Wire(zdd_engine.port) as wire:
        (keys,) = [wire.ask("KEYS", "*")]
        held = b"".join(keys) + b"".join(wire.ask("GET", key) for key in keys if b":returns:" in key)
        held += b"".join(part for key in keys if b":s:" in key for part in wire.ask("HGETALL", key))
    assert token not in held


def test_control_an_order_number_alone_lets_anybody_in(shop):
    """The handler most shops have: it believes the URL."""

    async def naive(order: str) -> str:
        shop.orders[order] = "the customer is back"
        return "done"

    from starlette.testclient import TestClient

    shop.orders["7"] = "waiting for the payment"
    shop.app.post("/naive")(naive)
    assert TestClient(shop.app).post("/naive?order=7", headers=PAYMENT).status_code == 200
    assert shop.orders["7"] == "the customer is back"
