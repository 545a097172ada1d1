"""What is said wrongly: principals that are nobody, names in no encoding, probes that say nothing."""

from __future__ import annotations

from collections.abc import Sequence
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
from zdd_sdk.idempotency.claim import Claim, Operation
from zdd_sdk.idempotency.model import Busy, Owned
from zdd_sdk.store import Call, Store, finish
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


def test_a_release_told_late_does_not_free_what_was_claimed_since(
    zdd: ZeroDowntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While secrets are rotated a key has two names; one of them may be free while the other is busy."""
    part, store = zdd.idempotency, zdd.blocking_store()
    assert store is not None
    settler, claimer = part._settler, part._claimer
    operation = Operation("pay", "external", lambda _: "ada", retention=60, body_ttl=60)
    fingerprints = ("j1.kid.hash",)
    theirs = Claim(operation, "k", ("n" * 43,), fingerprints, b"")
    ours = Claim(operation, "k", ("m" * 43, "n" * 43), fingerprints, b"")
    assert isinstance(finish(claimer._ask(theirs, store)), Owned)

    async def away(calls: Sequence[Call[Any]], _: Store) -> Sequence[Any]:
        settler.live.owe(calls)
        return ()

    with monkeypatch.context() as patched:
        patched.setattr(settler, "tell", away)
        assert isinstance(finish(claimer._ask(ours, store)), Busy)
    finish(settler.give_up(theirs, store))
    owed = settler.live.calls()
    assert isinstance(finish(claimer._ask(ours, store)), Busy), "as long as it has not been told"
    assert finish(store.ask(*owed)) == (True,)
    assert isinstance(finish(claimer._ask(ours, store)), Owned)
    assert finish(store.ask(*owed)) == (False,), "told once more, it frees nothing"
    again = Claim(operation, "k", ours.names, fingerprints, b"")
    assert isinstance(finish(claimer._ask(again, store)), Busy)


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
