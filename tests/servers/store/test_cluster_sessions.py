"""Sessions on a real Cluster one node of which is away: who is logged in stays so, whatever was under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.sessions.visitor import Visitor, key_of, login, make_sessions, state, writing
from zdd_sdk.errors import SessionUnavailable
from zdd_sdk.sessions import keeper
from zdd_sdk.sessions.ids import random_tag
from zdd_sdk.store.slots import key_slot
from zdd_sdk.testing.flow import Flow

from .conftest import Cluster

OpenFlow = Callable[..., Flow]
SHORT = {"connect_timeout": 2.0, "operation_timeout": 0.5, "total_timeout": 1.0}


async def rotate(session: Any) -> None:
    session["sudo"] = True
    session.rotate()


def tag_on(cluster: Cluster, *, away_from: int) -> str:
    """A tag whose slot lies on another node than this port's."""
    while cluster.owner(key_slot(f"{{{(tag := random_tag())}}}")).port == away_from:
        pass
    return tag


@pytest.fixture
def visitor(cluster: Cluster, open_flow: OpenFlow, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A browser with a session nobody is logged in to, on another node than ada's will be."""
    flow = open_flow(cluster.url, **SHORT)
    made = Visitor(make_sessions(), flow.store)
    home = cluster.owner(key_slot(f"{{{made.sessions.keeper.places.tags('ada')[0]}}}"))
    elsewhere = tag_on(cluster, away_from=home.port)
    monkeypatch.setattr(keeper, "random_tag", lambda: elsewhere)
    flow(made.visit(writing(cart=[1])))
    return made, flow, home


def under_way(flow: Flow, visitor: Visitor, handler: Any) -> Any:
    """A request that has loaded its session and run its handler."""
    exchange = visitor.exchange()
    flow(handler(flow(visitor.sessions.load(exchange))))
    return exchange


def answered(flow: Flow, visitor: Visitor, handler: Any) -> Any:
    """Ask until the node is known to be back."""
    for _ in range(200):
        reply = flow(visitor.visit(handler))
        if not isinstance(reply.error, SessionUnavailable) and reply.status != 503:
            return reply
        flow(visitor.store.sleep(0.05))
    raise AssertionError(reply)


def test_a_login_whose_new_session_no_node_takes_leaves_the_old_one(cluster: Cluster, visitor: Any) -> None:
    made, flow, home = visitor
    exchange, before = under_way(flow, made, login("ada")), made.cookie
    home.pause()
    reply = flow(made.depart(exchange))
    home.resume()
    made.receive(reply)
    assert (reply.status, made.cookie) == (503, before)
    assert answered(flow, made, state).result == (None, {"cart": [1]})
    assert answered(flow, made, writing(more=1)).status == 200
    assert answered(flow, made, login("ada")).status == 200
    assert answered(flow, made, state).result == ("ada", {"cart": [1], "more": 1})


def test_a_login_whose_old_node_is_away_holds(cluster: Cluster, visitor: Any) -> None:
    made, flow, _ = visitor
    exchange, planted = under_way(flow, made, login("ada")), made.cookie
    old = cluster.owner(key_slot(f"{{{planted.partition('.')[0]}}}"))
    old.pause()
    reply = flow(made.depart(exchange))
    made.receive(reply)
    assert (reply.status, made.cookie == planted) == (200, False)
    old.resume()
    assert answered(flow, made, state).result == ("ada", {"cart": [1]})
    attacker = Visitor(made.sessions, flow.store, planted)
    assert answered(flow, attacker, state).result == (None, {"cart": [1]}), "of before, and nothing of the login"


@pytest.mark.parametrize("user", [None, "ada"])
def test_a_rotation_on_a_node_that_is_away_happens_to_both_ids_or_to_none(
    cluster: Cluster, visitor: Any, user: str | None
) -> None:
    """Both lie in one slot, so a create that is refused has no mark beside it that is not."""
    made, flow, _ = visitor
    if user:
        flow(made.visit(login(user)))
    exchange, before = under_way(flow, made, rotate), made.cookie
    node = cluster.owner(key_slot(f"{{{before.partition('.')[0]}}}"))
    node.pause()
    reply = flow(made.depart(exchange))
    made.receive(reply)
    assert (reply.status, made.cookie) == (200, before)
    node.resume()
    assert answered(flow, made, state).result == (user, {"cart": [1]})
    if user:
        if node.ask("HEXISTS", key_of(before), "_k"):  # carried out after all: the grace passes
            node.ask("HSET", key_of(before), "_x", 1)
        assert answered(flow, made, writing(more=1)).status == 200
        assert answered(flow, made, state).result == (user, {"cart": [1], "more": 1})
