"""Two requests of one browser and a log out everywhere from elsewhere, in every order; and every reply lost once."""

from __future__ import annotations

import contextlib
from itertools import permutations

import pytest

from tests.flows.sessions.visitor import Visitor, index_of, key_of, login, make_sessions, state, writing
from zdd_sdk.errors import SessionReadOnly
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.flow import BlockingFlow

HOUR = 3600_000
OUT = (None, {})


async def touch(session):
    dict(session)


async def save(session):
    session["more"] = 1


async def add(session):
    session.add("visits", 1)


async def rotate(session):
    session.rotate()


async def again(session):
    session.login("ada")


async def bob(session):
    session.login("bob")


async def out(session):
    session.logout()


async def others(session):
    await session.logout_everywhere()


async def change_password(session):
    await session.logout_everywhere()
    session.rotate()


async def all_of_them(session):
    await session.logout_everywhere(keep=False)


STAY = (touch, save, add, rotate, again, others, change_password)
ENDS = (bob, out, all_of_them)
ORDERS = sorted(set(permutations("aabb")))


class Race:
    """A browser with a session that is due for a rotation, and two requests of it under way."""

    def __init__(self, flow, wire, handlers):
        self.flow, self.wire = flow, wire
        sessions = make_sessions(rotate_every=60.0, login_grace=120.0)
        sessions._can_rotate = lambda: True
        self.visitor = Visitor(sessions, flow.store)
        flow(self.visitor.visit(writing(cart=[1])))
        flow(self.visitor.visit(login("ada")))
        for field in ("_c", "_r"):
            wire.ask("HSET", key_of(self.visitor.cookie), field, int(wire.ask("TIME")[0]) * 1000 - HOUR)
        self.known = [self.visitor.cookie]
        self.waiting = {name: [handler] for name, handler in zip("ab", handlers, strict=True)}

    def step(self, name):
        """The request's load and handler; at its second turn its leave, and the browser takes the answer."""
        if callable(self.waiting[name][0]):
            exchange = self.visitor.exchange()
            (handler,) = self.waiting[name]
            session = self.flow(self.visitor.sessions.load(exchange))
            with contextlib.suppress(SessionReadOnly):  # the other's login was faster
                self.flow(handler(session))
            self.waiting[name] = [exchange]
            return
        reply = self.flow(self.visitor.depart(self.waiting[name][0]))
        assert reply.status == 200
        self.visitor.receive(reply)
        if self.visitor.cookie:
            self.known.append(self.visitor.cookie)

    def alive(self, cookies=None):
        """Whose the sessions behind the cookies are that can be changed, each session once."""
        seen = {}
        for cookie in dict.fromkeys(cookies or self.known):
            prober = Visitor(self.visitor.sessions, self.flow.store, cookie)
            session = self.flow(self.visitor.sessions.load(prober.exchange()))
            if session.user is not None and not session.read_only:
                seen[session.turn.id.text] = session.user
        return sorted(seen.values())

    def listed(self):
        return sum(
            len(self.flow(self.visitor.sessions.directory.devices(self.flow.store, user))) for user in ("ada", "bob")
        )


@pytest.fixture
def begin(real_engine, stores_of_real):
    flow = BlockingFlow(stores_of_real)
    with Wire(real_engine.port) as wire:

        def make(*handlers):
            wire.ask("FLUSHDB")
            return Race(flow, wire, handlers)

        yield make
    flow.close()


@pytest.fixture
def stores_of_real(real_engine, keys, open_tap):
    from tests.conftest import ROOMY
    from zdd_sdk.settings import StoreSettings
    from zdd_sdk.store.connect import Stores

    tap = open_tap(real_engine.url)
    built = Stores(StoreSettings(redis_url=tap.url, **ROOMY), keys)
    built.tap = tap
    yield built
    built.close()


def named(handler):
    return handler.__name__


@pytest.mark.parametrize("one", STAY, ids=named)
def test_nobody_is_logged_out_who_did_not_log_out(begin, one):
    lost = []
    for other in STAY:
        for order in ORDERS:
            race = begin(one, other)
            for name in order:
                race.step(name)
            kept = race.flow(race.visitor.visit(state)).result[1].get("cart") == [1]
            if race.alive([race.visitor.cookie]) != ["ada"] or not kept:
                lost.append((named(one), named(other), "".join(order)))
    assert lost == []


@pytest.mark.parametrize("one", ENDS, ids=named)
def test_what_was_ended_by_the_browser_does_not_come_back(begin, one):
    back = []
    for other in (touch, save, add, rotate, others, change_password):
        for order in ORDERS:
            race = begin(one, other)
            for name in order:
                race.step(name)
            now = race.alive([race.visitor.cookie]) if race.visitor.cookie else []
            if "ada" in race.alive() or now != (["bob"] if one is bob else []):
                back.append((named(one), named(other), "".join(order), race.alive(), now))
            if race.listed() != len(now):
                back.append((named(one), named(other), "".join(order), "listed"))
    assert back == []


@pytest.mark.parametrize("one", STAY, ids=named)
def test_log_out_everywhere_from_elsewhere_ends_all_but_the_logins_after_it(begin, one):
    for other in (touch, save, rotate, change_password):
        for order in ORDERS:
            for moment in range(5):
                race, logged_in = begin(one, other), False
                for number, name in enumerate((*order, None)):
                    if number == moment:
                        race.flow(race.visitor.sessions.directory.logout_everywhere(race.flow.store, "ada"))
                    if name is not None:
                        leaves = not callable(race.waiting[name][0])
                        logged_in |= leaves and number >= moment and name == "a" and one is again
                        race.step(name)
                story = (named(one), named(other), order, moment)
                assert (race.alive(), story) == (["ada"] if logged_in else [], story)
                assert (race.listed(), story) == (int(logged_in), story)


@pytest.mark.parametrize("handler", [*STAY, *ENDS], ids=named)
def test_a_reply_that_is_lost_changes_nothing(begin, stores_of_real, handler):
    """Each trip of a request in turn is answered into the void, and asked again."""
    for lost in range(4):
        race = begin(handler, touch)
        tap, told = stores_of_real.tap, 0
        ask = race.visitor.store.ask

        async def lossy(*calls, ask=ask, tap=tap, lost=lost):
            nonlocal told
            if told == lost:
                tap.drop_replies()
            told += 1
            return await ask(*calls)

        race.visitor.store.ask = lossy
        try:
            race.step("a")
            race.step("a")
        finally:
            race.visitor.store.ask = ask
            tap.heal()
        story = (named(handler), lost)
        expected = {"bob": ["bob"], "out": [], "all_of_them": []}.get(named(handler), ["ada"])
        assert (race.alive(), story) == (expected, story)
        assert (race.listed(), story) == (len(expected), story)
        assert race.visitor.sessions.counters["gone"] == 0
        values = dict(race.flow(race.visitor.visit(state)).result[1])
        assert ("visits" not in values or values["visits"] == 1, story) == (True, story)
        if handler in STAY:
            assert values["cart"] == [1]


def test_control_without_rotation_under_way_there_is_one_session(begin):
    race = begin(touch, touch)
    for name in "abab":
        race.step(name)
    assert (race.alive(), race.listed()) == (["ada"], 1)
    race.wire.ask("DEL", index_of("ada"))
    assert race.alive() == []
