"""`User.once`: what a good client does with a payment, and what a kill counts as."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from zdd_sdk.rehearsal.client import RawResponse
from zdd_sdk.rehearsal.user import Request, RequestFailed, User


def answering(*replies: int | tuple[int, str]) -> tuple[User, list[Request]]:
    """A user whose requests get these answers in turn; 0: none; with ``x-should-retry`` as the second."""
    seen: list[Request] = []

    async def send(user: User, request: Request) -> tuple[RawResponse, str]:
        reply = replies[len(seen)]
        status, should = reply if isinstance(reply, tuple) else (reply, "")
        seen.append(request)
        raw = RawResponse(status, [("x-should-retry", should)] if should else [], b"")
        if status in request.expect or 200 <= status < 400:
            return raw, "old"
        response = None if not status else to_answer(status, should)
        raise RequestFailed("POST", "reset", response)

    return User(0, 1, send), seen


def to_answer(status: int, should: str) -> object:
    from zdd_sdk.rehearsal.user import Response

    return Response(status, {"x-should-retry": should} if should else {}, b"")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None: ...

    monkeypatch.setattr(asyncio, "sleep", at_once)


def run(play: Callable[[], object]) -> object:
    return asyncio.run(play())  # type: ignore[arg-type]


def keys(seen: list[Request]) -> set[str]:
    return {dict(request.headers)["Idempotency-Key"] for request in seen}


def test_one_key_until_it_is_answered() -> None:
    user, seen = answering(0, 503, (409, "true"), 502, 201)
    assert run(lambda: user.once("/orders", json={})).status == 201  # type: ignore[attr-defined]
    assert (len(seen), len(keys(seen))) == (5, 1)


def test_what_should_not_be_sent_again_is_not() -> None:
    user, seen = answering((409, "false"))
    assert run(lambda: user.once("/orders")).status == 409  # type: ignore[attr-defined]
    user, again = answering((503, "false"))
    with pytest.raises(RequestFailed):
        run(lambda: user.once("/orders"))
    assert (len(seen), len(again)) == (1, 1)


def test_it_gives_up_in_the_end() -> None:
    user, seen = answering(0, 0, 0)
    with pytest.raises(RequestFailed):
        run(lambda: user.once("/orders", attempts=3))
    assert len(seen) == 3


def test_two_requests_have_two_keys() -> None:
    user, seen = answering(201, 201)
    run(lambda: user.once("/orders"))
    run(lambda: user.once("/orders"))
    assert len(keys(seen)) == 2
