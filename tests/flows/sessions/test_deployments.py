"""Sessions on a real 3-node Cluster, and under the least-privilege ACL."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import COOKIE, Visitor, login, logout, make_sessions, state, writing
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Keys
from zdd_sdk.store.acl import acl_line
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.flow import AsyncioFlow, BlockingFlow

ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}


def opened(kind, url):
    stores = Stores(StoreSettings(redis_url=url, **ROOMY), Keys("test", "test"))
    return BlockingFlow(stores) if kind == "blocking" else AsyncioFlow(stores)


async def rotate(session):
    session.rotate()


def live(flow, visitor, user):
    """All that can happen to a session; the tags are random, so that every slot pair comes up."""
    flow(visitor.visit(writing(a=1)))
    before = visitor.cookie
    flow(visitor.visit(login(user)))
    flow(visitor.visit(writing(b=2)))
    flow(visitor.visit(rotate))
    assert flow(Visitor(visitor.sessions, flow.store, before).visit(state)).result == (None, {"a": 1})
    both = [f"{COOKIE}={before}; {COOKIE}={visitor.cookie}"]
    assert flow(visitor.visit(state, cookies=both)).result == (user, {"a": 1, "b": 2})
    grow_old_and_rotate(flow, visitor)
    other = Visitor(visitor.sessions, flow.store)
    flow(other.visit(login(user)))
    assert len(flow(visitor.visit(devices)).result) == 2
    assert flow(visitor.visit(everybody_else)).result == 1
    assert (flow(other.visit(state)).result, flow(visitor.visit(state)).result[0]) == ((None, {}), user)
    flow(visitor.visit(logout))
    assert visitor.cookie is None
    assert flow(visitor.sessions.directory.devices(flow.store, user)) == ()


async def devices(session):
    return await session.devices()


async def everybody_else(session):
    return await session.logout_everywhere()


def grow_old_and_rotate(flow, visitor):
    """The id has just been renewed, which a wait of no length makes old enough."""
    before = visitor.cookie
    visitor.sessions = make_sessions(rotate_every=60.0, rotation_grace=0.0)
    visitor.sessions._can_rotate = lambda: True
    visitor.sessions.keeper._calls._rotate_every = 0
    flow(visitor.visit(state))
    late = Visitor(visitor.sessions, flow.store, before)
    flow(late.visit(writing(late=1)))
    assert late.cookie == visitor.cookie != before
    assert flow(visitor.visit(state)).result[1]["late"] == 1


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_on_a_cluster(cluster, kind):
    flow, sessions = opened(kind, cluster), make_sessions()
    for number in range(20):
        live(flow, Visitor(sessions, flow.store), f"user{number}")
    flow.close()
    assert {"gone": 0, "conflicts": 0, "unavailable": 0, "undecodable": {}}.items() <= sessions.counters.items()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize("engine", ["real"], indirect=True)
def test_under_the_least_privilege(engine, kind):
    with Wire(engine.port) as wire:
        words = acl_line("test", "test", user="zdd", password="secret").split()
        wire.ask("ACL", "SETUSER", *words[1:])
        flow, sessions = opened(kind, f"redis://zdd:secret@127.0.0.1:{engine.port}"), make_sessions()
        live(flow, Visitor(sessions, flow.store), "ada")
        flow.close()
        wire.ask("ACL", "DELUSER", "zdd")
    assert sessions.counters["unavailable"] == 0
