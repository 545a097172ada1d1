"""Sessions over a failover whose old master answered on for a while: what is lost, and what never happens.

Replication is asynchronous, so what the old master said in that time is gone once it has become a replica. Played with
a real master and its replica, cut apart at an exact moment; the last test lets real Sentinels do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.flows.sessions.visitor import (
    Visitor,
    index_of,
    key_of,
    login,
    logout,
    make_sessions,
    reading,
    state,
    writing,
)
from zdd_sdk.errors import StoreReplyError
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.testing.flow import Flow

from .conftest import Watched, eventually

OpenFlow = Callable[..., Flow]
pytestmark = pytest.mark.parametrize("open_flow", ["asyncio"], indirect=True)
ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}
ADA = ("ada", {"cart": ["tea"]})


def content(engine: Engine) -> dict[bytes, set[tuple[bytes, bytes]]]:
    """All hashes; their fields come in any order."""
    hashes = {key: engine.ask("HGETALL", key) for key in engine.ask("KEYS", "*")}
    return {key: set(zip(flat[::2], flat[1::2], strict=True)) for key, flat in hashes.items()}


class Failover:
    """A master and its replica, and where a service asks.

    Args:
        open_flow: opens a flow at a URL.
        arguments: of the engines.
    """

    def __init__(self, open_flow: OpenFlow, *arguments: str) -> None:
        arguments = (*arguments, "--repl-diskless-sync-delay", "0")
        self.old = start_engine("auto", args=arguments)
        self.new = start_engine("auto", args=[*arguments, "--replicaof", f"127.0.0.1 {self.old.port}"])
        eventually(lambda: b"state=online,offset" in self.old.ask("INFO", "replication"), "the replica follows")
        eventually(lambda: b"lag=0" in self.old.ask("INFO", "replication"), "the master hears of it")
        self.flow, self._after = open_flow(self.old.url, **ROOMY), open_flow(self.new.url, **ROOMY)
        self.sessions = make_sessions()

    def visitor(self, user: str = "", **fields: Any) -> Visitor:
        """A browser with a session."""
        visitor = Visitor(self.sessions, self.flow.store)
        self.flow(visitor.visit(writing(**fields)))
        if user:
            self.flow(visitor.visit(login(user)))
        return visitor

    def twin(self, visitor: Visitor) -> Visitor:
        """Whoever else has the cookie of this browser by now."""
        return Visitor(self.sessions, self.flow.store, visitor.cookie)

    def cut(self) -> None:
        """The replica becomes a master with all that was written so far; the old one knows nothing of it."""
        eventually(lambda: content(self.old) == content(self.new), "the replica has caught up")
        self.new.ask("REPLICAOF", "NO", "ONE")
        eventually(lambda: b"connected_slaves:0" in self.old.ask("INFO", "replication"), "the old master is alone")

    def settle(self, *visitors: Visitor) -> None:
        """The old master follows the new one, and forgets; the service asks the new one."""
        self.old.ask("REPLICAOF", "127.0.0.1", self.new.port)
        self.flow = self._after
        for visitor in visitors:
            visitor.store = self.flow.store
        eventually(lambda: b"master_link_status:up" in self.old.ask("INFO", "replication"), "the old one follows")
        eventually(lambda: content(self.old) == content(self.new), "both hold the same")

    def see(self, visitor: Visitor) -> Any:
        """Who is logged in and what there is."""
        reply = self.flow(visitor.visit(state))
        assert reply.status == 200
        return reply.result

    def close(self) -> None:
        for engine in (self.new, self.old):
            engine.kill()


@pytest.fixture
def failover(open_flow: OpenFlow) -> Iterator[Failover]:
    opened = Failover(open_flow)
    yield opened
    opened.close()


@pytest.fixture
def guarded(open_flow: OpenFlow) -> Iterator[Failover]:
    """Its masters write only what a replica may hear of."""
    opened = Failover(open_flow, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
    yield opened
    opened.close()


async def rotate(session: Any) -> None:
    session.rotate()


async def everywhere(session: Any) -> Any:
    return await session.logout_everywhere()


async def devices(session: Any) -> Any:
    return [device.handle for device in await session.devices()]


async def adding(session: Any) -> None:
    session.add("visits", 1)


def test_a_login_the_old_master_confirmed_is_lost_and_leads_to_nobody(failover: Failover) -> None:
    """Docs: the new id is unknown, so the visitor is logged out; what was before the login is under the old id."""
    visitor = failover.visitor(cart=["tea"])
    before = failover.twin(visitor)
    failover.cut()
    assert failover.flow(visitor.visit(login("ada"))).status == 200
    assert failover.see(visitor) == ADA
    failover.settle(visitor, before)
    assert failover.see(visitor) == (None, {})
    assert failover.see(before) == (None, {"cart": ["tea"]}), "nobody is logged in under the id of before"
    assert failover.flow(visitor.visit(login("ada"))).status == 200
    assert failover.see(visitor)[0] == "ada"


def test_a_new_id_the_old_master_gave_is_lost_and_the_id_before_goes_on(failover: Failover) -> None:
    visitor = failover.visitor("ada", cart=["tea"])
    before = failover.twin(visitor)
    failover.cut()
    failover.flow(visitor.visit(rotate))
    failover.settle(visitor, before)
    assert failover.see(visitor) == (None, {}), "docs: logged out"
    assert failover.see(before) == ADA, "docs: the id before is as good as it was"
    assert len(failover.flow(before.visit(devices)).result) == 1
    failover.flow(before.visit(logout))
    assert failover.see(failover.twin(before)) == (None, {})


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_periodic_rotation_leads_on_from_wherever_the_new_master_knows_it(
    failover: Failover, confirmed: bool
) -> None:
    visitor = failover.visitor("ada", cart=["tea"])
    before = failover.twin(visitor)
    rotating = visitor.sessions = make_sessions(rotate_every=3600)
    rotating._can_rotate = lambda: True
    for engine_field in ("_r", "_c"):
        failover.old.ask("HINCRBY", key_of(visitor.cookie), engine_field, -7_200_000)
    if confirmed:
        assert failover.see(visitor) == ADA
        assert visitor.cookie != before.cookie
    failover.cut()
    assert failover.see(visitor) == ADA
    assert visitor.cookie != before.cookie
    failover.settle(visitor, before)
    assert failover.see(before) == ADA, "the id before still leads to it: the new one was never used there"
    if confirmed:
        assert failover.see(visitor) == ADA
    else:
        assert failover.see(visitor) == (None, {}), "docs: rotated by the old master alone: logged out"


def test_a_logout_the_old_master_confirmed_is_undone_for_whoever_kept_the_id(failover: Failover) -> None:
    """Docs: the browser has no cookie any more; a copy of it counts again, until the next logout everywhere."""
    visitor = failover.visitor("ada", cart=["tea"])
    thief = failover.twin(visitor)
    failover.cut()
    assert failover.flow(visitor.visit(logout)).status == 200
    assert visitor.cookie is None
    assert failover.see(failover.twin(thief)) == (None, {})
    failover.settle(visitor, thief)
    assert failover.see(visitor) == (None, {}), "the browser itself stays logged out"
    assert failover.see(thief) == ADA, "physically lost, as the docs say"
    again = failover.visitor("ada")
    assert len(failover.flow(again.visit(devices)).result) == 2, "but it is on the list"
    failover.flow(again.visit(everywhere))
    assert failover.see(thief) == (None, {})


def test_a_logout_everywhere_the_old_master_confirmed_has_to_be_asked_again(failover: Failover) -> None:
    """… and it then ends those sessions too that the old master had let begin."""
    visitor, other = failover.visitor("ada", cart=["tea"]), failover.visitor("ada")
    failover.cut()
    assert failover.flow(visitor.visit(everywhere)).result == 1
    assert failover.see(failover.twin(other)) == (None, {})
    late = failover.visitor("ada")
    failover.settle(visitor, other, late)
    assert failover.see(failover.twin(other))[0] == "ada", "docs: lost, as a whole"
    assert failover.see(visitor) == ADA
    assert failover.see(late) == (None, {}), "began at the old master: lost"
    assert failover.flow(visitor.visit(everywhere)).result == 1
    assert (failover.see(other), failover.see(visitor)) == ((None, {}), ADA)


def test_what_was_ended_before_the_failover_stays_ended(failover: Failover) -> None:
    """Replicated in time: whatever the old master is told afterwards, nobody comes back."""
    visitor, other = failover.visitor("ada", cart=["tea"]), failover.visitor("ada")
    out = failover.twin(other)
    leaving = failover.visitor("bob")
    left = failover.twin(leaving)
    under_way = out.exchange()
    failover.flow(failover.sessions.load(under_way))
    failover.flow(visitor.visit(everywhere))
    failover.flow(leaving.visit(logout))
    failover.cut()
    failover.flow(visitor.visit(rotate))
    failover.flow(failover.visitor("ada").visit(everywhere))
    failover.settle(visitor, out, left)
    under_way.store = failover.flow.store
    late = failover.flow(out.answer(under_way, writing(late=1), keep=False, load=False))
    assert (late.status, late.cookie) == (200, None)
    assert (failover.see(out), failover.see(left)) == ((None, {}), (None, {}))


def test_the_list_of_devices_is_what_there_is_in_any_order(failover: Failover) -> None:
    """A script is replicated whole: no device without its session, no session of a user without its device."""
    visitors = [failover.visitor("ada", number=number) for number in range(4)]
    failover.cut()
    failover.flow(visitors[0].visit(rotate))
    failover.flow(visitors[1].visit(logout))
    failover.flow(visitors[2].visit(login("ada")))
    originals = [failover.twin(visitor) for visitor in visitors]
    failover.visitor("ada")
    failover.settle(*visitors, *originals)
    listed = failover.new.ask("HGETALL", index_of("ada"))
    hashes = {entry.split()[1] for name, entry in zip(listed[::2], listed[1::2], strict=True) if name.startswith(b"d:")}
    live = {key[-64:] for key in failover.new.ask("KEYS", "zdd:*:s:*") if not failover.new.ask("HEXISTS", key, "_k")}
    assert (len(hashes), hashes) == (4, live)
    assert len(failover.flow(visitors[3].visit(devices)).result) == 4


def test_a_request_under_way_saves_into_what_the_new_master_has(failover: Failover) -> None:
    visitor = failover.visitor("ada", visits=5, cart=["tea"])
    lost = failover.visitor("bob", secret="bob's")
    failover.cut()
    failover.flow(visitor.visit(adding))
    failover.flow(visitor.visit(writing(draft="lost")))
    begun = failover.visitor("eve", cart=["eve's"])
    exchanges = [visitor.exchange(), begun.exchange()]
    for exchange in exchanges:
        failover.flow(failover.sessions.load(exchange))
    failover.settle(visitor, lost, begun)
    for exchange in exchanges:
        exchange.store = failover.flow.store

    async def change(session: Any) -> None:
        session.add("visits", 1)
        session["note"] = "kept"

    first = failover.flow(visitor.answer(exchanges[0], change, keep=False, load=False))
    second = failover.flow(begun.answer(exchanges[1], change, keep=False, load=False))
    assert [(reply.status, reply.cookie) for reply in (first, second)] == [(200, None), (200, None)]
    assert failover.flow(visitor.visit(reading())).result == {"visits": 6, "cart": ["tea"], "note": "kept"}
    assert failover.see(begun) == (None, {}), "its session began at the old master: gone, and never made again"
    assert failover.see(lost) == ("bob", {"secret": "bob's"})


def test_with_min_replicas_to_write_the_old_master_confirms_nothing_that_would_be_lost(guarded: Failover) -> None:
    """Redis' own option: no login, no logout and no new id without an error, and reads go on."""
    guarded.new.ask("CONFIG", "SET", "min-replicas-to-write", 0)  # until it has a replica of its own
    visitor, stranger = guarded.visitor("ada", cart=["tea"]), guarded.visitor(cart=["milk"])
    guarded.cut()
    assert guarded.see(visitor) == ADA
    for who, handler in ((stranger, login("bob")), (visitor, logout)):
        reply = guarded.flow(who.visit(handler))
        assert (reply.status, reply.cookie) == (503, None)
    reply = guarded.flow(visitor.visit(everywhere))
    assert (reply.status, type(reply.error)) == (503, StoreReplyError)
    cookie = visitor.cookie
    guarded.flow(visitor.visit(rotate))
    assert visitor.cookie == cookie
    guarded.settle(visitor, stranger)
    assert (guarded.see(visitor), guarded.see(stranger)) == (ADA, (None, {"cart": ["milk"]}))
    assert guarded.flow(stranger.visit(login("bob"))).status == 200
    guarded.flow(visitor.visit(logout))
    assert (guarded.see(stranger)[0], guarded.see(visitor)) == ("bob", (None, {}))


def test_real_sentinels_fail_over_under_logins_and_logouts(watched: Watched, open_flow: OpenFlow) -> None:
    """The master dies. What was replicated holds; in between there are typed errors only; then all is as ever."""
    flow = open_flow(watched.url)
    sessions = make_sessions()

    def visitor(user: str) -> Visitor:
        found = Visitor(sessions, flow.store)
        flow(found.visit(writing(mine=user)))
        assert flow(found.visit(login(user))).status == 200
        return found

    staying, ended = visitor("ada"), visitor("bob")
    out = Visitor(sessions, flow.store, ended.cookie)
    flow(ended.visit(logout))
    other = visitor("ada")
    flow(staying.visit(everywhere))
    eventually(lambda: content(watched.master) == content(watched.replica), "the replica has caught up")
    watched.master.kill()
    statuses: set[int] = set()
    deadline = time.monotonic() + 60
    served = False
    while not served:
        assert time.monotonic() < deadline, "never served again"
        newcomer = Visitor(sessions, flow.store)
        for handler in (writing(mine="eve"), login("eve")):
            reply = flow(newcomer.visit(handler))
            statuses.add(reply.status)
            assert reply.status == 200 or reply.cookie is None, "no login without an answer that says so"
        served = reply.status == 200 and flow(newcomer.visit(state)).result == ("eve", {"mine": "eve"})
        time.sleep(0.05)
    assert statuses <= {200, 503}
    assert 503 in statuses, "control: there was an outage"
    assert flow(staying.visit(state)).result == ("ada", {"mine": "ada"})
    assert flow(out.visit(state)).result == (None, {})
    assert flow(other.visit(state)).result == (None, {})
    assert len(flow(staying.visit(devices)).result) == 1
