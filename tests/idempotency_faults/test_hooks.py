"""``answer=`` and probes: what they may return, and what is said where they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import ROOMY, SECRET
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyOutcomeCommitted, IdempotencyOutcomeUnknown, SettingsError
from zdd_sdk.idempotency import NOT_DONE, UNKNOWN, Context, StoredAnswer
from zdd_sdk.store.engine import Engine

Hook = Callable[[Context], Any]


class Receipt(BaseModel):
    number: int


FOUND = {
    "a dict": ({"number": 7}, 201),
    "a model": (Receipt(number=7), 201),
    "a response": (Response(b'{"number":7}', 202, media_type="application/json"), 202),
    "a stored answer": (StoredAnswer(203, (("content-type", "application/json"),), b'{"number":7}'), 203),
    "a pair": ((200, {"number": 7}), 200),
}


def fails(_: Context) -> Any:
    message = "the bank does not answer"
    raise ConnectionError(message)


def colours(found: Any) -> list[Hook]:
    async def later(_: Context) -> Any:
        return found

    return [lambda _: found, later]


class Bank:
    """An application whose first run leaves its outcome unknown, or its answer lost."""

    def __init__(self, url: str) -> None:
        self.runs = 0
        self.zdd = ZeroDowntime("bank", environment="test", redis_url=url, secret=(SECRET,), store=ROOMY)
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)

    def transfer(self, *, fails: bool, **hooks: Any) -> Any:
        """The first run fails, or answers more than is kept."""

        async def endpoint() -> Any:
            self.runs += 1
            if self.runs == 1 and fails:
                raise RuntimeError
            return {"number": 1, "text": "x" * 300_000}

        said: Any = {"effects": "unsafe", "principal": "anonymous", **hooks}
        return self.app.post("/transfers", status_code=201)(self.zdd.idempotent(operation="t", **said)(endpoint))

    def post(self, times: int) -> Any:
        with TestClient(self.app, raise_server_exceptions=False) as client:
            answers = [client.post("/transfers", headers={"Idempotency-Key": "k"}) for _ in range(times)]
        return answers[-1]


@pytest.fixture
def bank(real_engine: Engine) -> Bank:
    return Bank(real_engine.url)


@pytest.mark.parametrize("colour", [0, 1])
@pytest.mark.parametrize("name", FOUND)
def test_a_probe_says_the_answer(bank: Bank, name: str, colour: int) -> None:
    found, status = FOUND[name]
    bank.transfer(fails=True, on_unknown=colours(found)[colour])
    for _ in range(2):
        answer = bank.post(2 if bank.runs == 0 else 1)
        assert (answer.status_code, answer.json()) == (status, {"number": 7})
        assert (answer.headers["idempotent-replayed"], answer.headers["content-type"]) == ("true", "application/json")
    assert bank.runs == 1


@pytest.mark.parametrize("colour", [0, 1])
@pytest.mark.parametrize("name", FOUND)
def test_answer_makes_the_answer_that_is_not_kept(bank: Bank, name: str, colour: int) -> None:
    found, status = FOUND[name]
    bank.transfer(fails=False, answer=colours(found)[colour])
    answer = bank.post(2)
    assert (answer.status_code, answer.json(), bank.runs) == (status, {"number": 7}, 1)


def test_a_status_without_a_body(bank: Bank) -> None:
    bank.transfer(fails=True, on_unknown=lambda _: (204, None))
    answer = bank.post(2)
    assert (answer.status_code, answer.content, bank.runs) == (204, b"", 1)


@pytest.mark.parametrize("hook", [fails, lambda _: UNKNOWN, lambda _: object()], ids=["raises", "unknown", "nonsense"])
def test_a_probe_that_fails_has_said_nothing(bank: Bank, hook: Hook) -> None:
    bank.transfer(fails=True, on_unknown=hook)
    answer = bank.post(3)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:zdd:idempotency-outcome-unknown")
    assert bank.runs == 1, "never the endpoint"


def test_control_a_probe_that_says_so_has_it_run_again(bank: Bank) -> None:
    bank.transfer(fails=True, on_unknown=lambda _: NOT_DONE)
    assert bank.post(2).status_code == 201
    assert bank.runs == 2


@pytest.mark.parametrize("hook", [fails, lambda _: object()], ids=["raises", "nonsense"])
def test_an_answer_that_cannot_be_made_is_still_committed(bank: Bank, hook: Hook) -> None:
    bank.transfer(fails=False, answer=hook)
    answer = bank.post(3)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:zdd:idempotency-outcome-committed")
    assert bank.runs == 1


def test_a_probe_may_say_more_than_is_kept(bank: Bank) -> None:
    """It was done, so it is not run again; only its answer is not there."""
    bank.transfer(fails=True, on_unknown=lambda _: {"text": "x" * 300_000})
    assert bank.post(2).json()["type"] == "urn:zdd:idempotency-outcome-committed"
    assert bank.runs == 1


def test_plain_functions(bank: Bank) -> None:
    def send(invoice: str) -> Receipt:
        bank.runs += 1
        raise ConnectionError

    def decorated(key: str, **hooks: Any) -> Callable[[], Any]:
        function = bank.zdd.idempotent(operation=key, effects="unsafe", principal="anonymous", key="invoice", **hooks)(
            send
        )
        with pytest.raises(ConnectionError):
            function(key)
        return lambda: function(key)

    assert decorated("done", on_unknown=lambda _: Receipt(number=7))() == Receipt(number=7)
    with pytest.raises(IdempotencyOutcomeUnknown):
        decorated("fails", on_unknown=fails)()
    with pytest.raises(IdempotencyOutcomeCommitted):
        decorated("other", on_unknown=lambda _: object())()
    assert bank.runs == 3


def test_what_nothing_could_await_is_refused_where_it_is_written(bank: Bank) -> None:
    async def later(_: Context) -> Any: ...

    for name in ("answer", "on_unknown"):
        said: Any = {"effects": "unsafe", "principal": "anonymous", name: later}
        with pytest.raises(SettingsError, match=f"{name}= is async"):
            bank.zdd.idempotent(operation="t", **said)(lambda: None)
