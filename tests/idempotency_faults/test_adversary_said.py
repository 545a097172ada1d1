"""What is said wrongly: principals that are nobody, names in no encoding, probes that say nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from tests.idempotency_faults.conftest import ROOMY, SECRET
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import IdempotencyPrincipalMissing
from zdd_sdk.idempotency import StoredAnswer
from zdd_sdk.store.engine import Engine


class AnonymousUser:
    """As Django's and those of others; theirs has a text, which is the same for everybody."""

    is_authenticated = False

    def __str__(self) -> str:
        return "AnonymousUser"


HALF = "half a pair: \ud83d"


@pytest.fixture
def zdd(real_engine: Engine) -> ZeroDowntime:
    return ZeroDowntime("shop", environment="test", redis_url=real_engine.url, secret=(SECRET,), store=ROOMY)


@pytest.mark.parametrize(
    "nobody",
    [AnonymousUser(), SimpleLazyObject(AnonymousUser), ("tenant", AnonymousUser()), ("tenant", ""), ("tenant", None)],
    ids=["anonymous", "lazy", "of a tenant", "empty", "none"],
)
def test_a_user_who_is_not_logged_in_is_nobody(zdd: ZeroDowntime, nobody: object) -> None:
    """Their text is one for all of them: everybody would get everybody's answers."""
    runs = []

    @zdd.idempotent(operation="pay", effects="external", principal="user", key="key")
    def pay(user: object, key: str) -> int:
        runs.append(user)
        return len(runs)

    with pytest.raises(IdempotencyPrincipalMissing):
        pay(nobody, "k")
    assert [pay(("tenant", 0), "k"), pay(("tenant", 0), "k")] == [1, 1], "control: 0 is an id like any other"


def test_half_a_surrogate_pair_is_a_name(zdd: ZeroDowntime) -> None:
    runs = []

    @zdd.idempotent(operation="pay", effects="external", principal="user", key="key")
    def pay(user: str, key: str) -> int:
        runs.append(user)
        return len(runs)

    assert [pay(HALF, HALF), pay(HALF, HALF), pay(HALF, "k"), pay("half", HALF)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    "found",
    [
        None,
        JSONResponse({}, 503),
        (500, {}),
        (401, {}),
        (429, {}),
        (99, {}),
        (99_999, {}),
        StoredAnswer(504),
    ],
    ids=lambda found: str(getattr(found, "status_code", found))[:20],
)
def test_a_probe_that_says_nothing_of_what_has_happened(zdd: ZeroDowntime, found: Any) -> None:
    """A bank that does not answer, or a branch that forgot to return: that is no proof that it was carried out."""
    app, runs, says = FastAPI(), [], [found]
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/do")
    @zdd.idempotent(operation="do", effects="unsafe", principal="anonymous", on_unknown=lambda _: says[0])
    async def do() -> None:
        runs.append(1)
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as client:
        answers = [client.post("/do", headers={"Idempotency-Key": "k"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [500, 409, 409]
        assert answers[-1].json()["type"] == "urn:zdd:idempotency-outcome-unknown"
        says[0] = (204, None)
        assert client.post("/do", headers={"Idempotency-Key": "k"}).status_code == 204, "control"
    assert len(runs) == 1
