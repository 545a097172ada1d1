"""Merge rules under fire: parallel requests, lost replies, logins, and what get-then-set makes of the same."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, make_sessions, reading, state, writing
from zdd_sdk.errors import SessionConflict, SessionUnavailable
from zdd_sdk.sessions import merge

ADDERS = 50


async def add_one(session):
    session.add("visits", 1)


async def get_and_set(session):
    session["visits"] = session.get("visits", 0) + 1


def value(flow, visitor, name="visits"):
    return flow(visitor.visit(reading(name))).result[name]


def overtaken(flow, visitor, mine, theirs, **depart):
    """One request changes and leaves while another one is between its load and its leave."""
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(mine(session))
    other = Visitor(visitor.sessions, flow.store, visitor.cookie)
    for handler in theirs:
        flow(other.visit(handler))
    return flow(visitor.depart(exchange, **depart))


def at_once(flow, visitor, handler, count):
    """Load ``count`` times, and only then change and leave, all at the same time."""
    exchanges = [visitor.exchange() for _ in range(count)]
    for exchange in exchanges:
        flow(visitor.sessions.load(exchange))
    answers = (visitor.answer(exchange, handler, keep=False, load=False) for exchange in exchanges)
    return [reply.status for reply in flow.gather(*answers)]


def test_fifty_adders_at_once_add_up(flow, visitor):
    flow(visitor.visit(writing(visits=0)))
    assert at_once(flow, visitor, add_one, ADDERS) == [200] * ADDERS
    assert value(flow, visitor) == ADDERS
    assert visitor.sessions.counters["conflicts"] >= ADDERS - 1


def test_control_get_and_set_loses(flow, visitor):
    flow(visitor.visit(writing(visits=0)))
    assert at_once(flow, visitor, get_and_set, ADDERS) == [200] * ADDERS
    assert value(flow, visitor) == 1


def test_all_rules_at_once(flow, visitor):
    flow(visitor.visit(writing(a=0)))

    def handler(number):
        async def change(session):
            session.add("sum", number)
            session.union("seen", {number})
            session.append("log", number, limit=4)
            session[f"own{number}"] = number

        return change

    exchanges = [(visitor.exchange(), handler(number)) for number in range(8)]
    for exchange, _ in exchanges:
        flow(visitor.sessions.load(exchange))
    flow.gather(*(visitor.answer(exchange, change, keep=False, load=False) for exchange, change in exchanges))
    found = flow(visitor.visit(reading())).result
    log = found.pop("log")
    assert found == {"a": 0, "sum": 28, "seen": set(range(8)), **{f"own{n}": n for n in range(8)}}
    assert len(log) == len(set(log)) == 4


def test_one_trip_when_nobody_interferes(tap, flow, visitor):
    flow(visitor.visit(add_one))
    flow(visitor.visit(add_one))
    tap.reset()
    flow(visitor.visit(add_one))
    assert (tap.trips, value(flow, visitor)) == (2, 3)


def test_one_trip_more_for_each_who_was_faster(tap, flow, visitor):
    flow(visitor.visit(add_one))
    flow(visitor.visit(add_one))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(visitor.visit(add_one))
    flow(add_one(session))
    tap.reset()
    flow(visitor.depart(exchange))
    assert (tap.trips, value(flow, visitor)) == (2, 4)


def test_a_lost_reply_adds_once(tap, flow, visitor, hash_of):
    flow(visitor.visit(writing(visits=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session.add("visits", 1)
    tap.drop_replies(1)
    assert flow(visitor.depart(exchange)).status == 200
    assert (value(flow, visitor), hash_of(visitor.cookie)[b"_g"]) == (2, b"2")


def test_lost_replies_while_many_add(tap, flow, visitor):
    flow(visitor.visit(writing(visits=0)))
    exchanges = [visitor.exchange() for _ in range(12)]
    for exchange in exchanges:
        flow(visitor.sessions.load(exchange))
    tap.drop_replies(3)
    answers = (visitor.answer(exchange, add_one, keep=False, load=False) for exchange in exchanges)
    assert [reply.status for reply in flow.gather(*answers)] == [200] * 12
    assert value(flow, visitor) == 12


def test_control_without_the_token_a_lost_reply_adds_twice(tap, flow, visitor, monkeypatch):
    """A save that is applied again to whatever it finds, as one without a token would have to be."""
    flow(visitor.visit(writing(visits=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session.add("visits", 1)
    plan = visitor.sessions.keeper.plan(visitor.sessions.open(exchange)._turn, flow.store)
    flow(visitor.sessions.keeper.ask(flow.store, plan.waves[0]))  # done, and nobody heard of it
    flow(visitor.depart(exchange))  # another plan, so another token
    assert value(flow, visitor) == 3


def test_an_explicit_save_that_got_no_answer_adds_once(engine, tap, flow, visitor):
    flow(visitor.visit(writing(visits=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session.add("visits", 1)
    tap.drop_replies(2)
    with pytest.raises(SessionUnavailable):
        flow(session.save())
    session.add("visits", 10)
    session["other"] = 1
    assert flow(visitor.depart(exchange)).status == 200
    assert flow(visitor.visit(state)).result == (None, {"visits": 12, "other": 1})


def test_nothing_is_added_by_a_server_error(flow, visitor):
    flow(visitor.visit(add_one))
    flow(visitor.visit(add_one, status=500))
    assert value(flow, visitor) == 1


def test_a_logout_wins_over_an_addition(flow, visitor):
    flow(visitor.visit(writing(visits=1)))

    async def leave(session):
        session.logout()

    overtaken(flow, visitor, add_one, [leave])
    assert visitor.sessions.counters["gone"] == 1


@pytest.mark.parametrize("renew", ["login", "rotate"])
def test_a_new_id_takes_additions_of_both_along(flow, visitor, renew):
    flow(visitor.visit(writing(visits=1, seen={1})))

    async def mine(session):
        session.add("visits", 1)
        session.union("seen", {2})
        session.login("ada") if renew == "login" else session.rotate()

    async def theirs(session):
        session.add("visits", 10)
        session.union("seen", {3})

    visitor.receive(overtaken(flow, visitor, mine, [theirs]))
    user, found = flow(visitor.visit(state)).result
    assert (user, found) == ("ada" if renew == "login" else None, {"visits": 12, "seen": {1, 2, 3}})


def test_a_save_that_was_overtaken_and_a_login_lose_nothing(flow, visitor):
    flow(visitor.visit(writing(a=1, b=1)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(visitor.visit(writing(b=2)))
    session["a"] = 2
    flow(session.save())
    session.login("ada")
    visitor.receive(flow(visitor.depart(exchange)))
    assert flow(visitor.visit(state)).result == ("ada", {"a": 2, "b": 2})


# compare and set


def swap(expected, new, *, also=None):
    async def handler(session):
        session.compare_and_set("state", expected, new)
        if also is not None:
            also(session)

    return handler


def test_of_two_who_swap_one_is_told(flow, visitor):
    flow(visitor.visit(writing(state="open", other=0)))
    mine = swap("open", "mine", also=lambda session: session.update(other=1))
    reply = overtaken(flow, visitor, mine, [swap("open", "theirs")])
    assert (reply.status, "session-conflict" in reply.result) == (409, True)
    assert flow(visitor.visit(reading())).result == {"state": "theirs", "other": 0}
    assert visitor.sessions.counters["clashes"] == 1


def test_exactly_one_of_many_gets_it(flow, visitor):
    flow(visitor.visit(writing(state=None)))
    statuses = at_once(flow, visitor, swap(None, "taken"), 12)
    assert sorted(statuses) == [200] + [409] * 11


def test_control_get_and_set_lets_all_have_it(flow, visitor):
    flow(visitor.visit(writing(state=None)))

    async def take(session):
        assert session["state"] is None
        session["state"] = "taken"

    assert at_once(flow, visitor, take, 12) == [200] * 12


def test_another_value_is_told_at_once(flow, visitor):
    flow(visitor.visit(writing(state="open")))
    reply = flow(visitor.visit(swap("closed", "mine")))
    assert (reply.status, type(reply.error)) == (409, SessionConflict)
    assert value(flow, visitor, "state") == "open"


def test_the_same_value_written_anew_is_no_conflict(flow, visitor):
    flow(visitor.visit(writing(state="open")))
    there_and_back = [writing(state="closed"), writing(state="open")]
    assert overtaken(flow, visitor, swap("open", "mine"), there_and_back).status == 200
    assert value(flow, visitor, "state") == "mine"


def test_a_conflict_can_be_caught_read_again_and_decided_anew(flow, visitor):
    flow(visitor.visit(writing(state="open")))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    flow(visitor.visit(writing(state="theirs")))
    session.compare_and_set("state", "open", "mine")
    session["other"] = 1
    with pytest.raises(SessionConflict):
        flow(session.save())
    assert session["state"] == "theirs"
    session.compare_and_set("state", "theirs", "mine")
    assert flow(visitor.depart(exchange)).status == 200
    assert flow(visitor.visit(reading())).result == {"state": "mine", "other": 1}


def test_a_login_waits_for_the_verdict(flow, visitor):
    flow(visitor.visit(writing(state="open", visits=1)))
    before = visitor.cookie

    def also(session):
        session.login("ada")

    reply = overtaken(flow, visitor, swap("open", "mine", also=also), [swap("open", "theirs")])
    assert (reply.status, reply.cookie, visitor.cookie) == (409, None, before)
    assert flow(visitor.visit(state)).result == (None, {"state": "theirs", "visits": 1})


def test_a_login_after_the_verdict_takes_others_changes_along(flow, visitor):
    flow(visitor.visit(writing(state="open", visits=1)))

    def also(session):
        session.login("ada")
        session.add("visits", 1)

    theirs = [writing(b=2), add_one]
    visitor.receive(overtaken(flow, visitor, swap("open", "mine", also=also), theirs))
    assert flow(visitor.visit(state)).result == ("ada", {"state": "mine", "visits": 3, "b": 2})


def test_always_being_too_late_ends(flow, visitor, monkeypatch):
    monkeypatch.setattr("zdd_sdk.sessions.plan.MAX_ROUNDS", 3)
    flow(visitor.visit(writing(visits=0)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session.add("visits", 1)
    keeper, ask, rounds = visitor.sessions.keeper, visitor.sessions.keeper.ask, []
    other = Visitor(make_sessions(), flow.store, visitor.cookie)

    async def outpaced(store, wave):
        rounds.append(wave)
        await other.visit(add_one)
        return await ask(store, wave)

    monkeypatch.setattr(keeper, "ask", outpaced)
    with pytest.raises(SessionConflict, match="in a row"):
        flow(session.save())
    monkeypatch.undo()
    assert (len(rounds), keeper.counters["clashes"], value(flow, visitor)) == (4, 1, 4)
    assert merge.MAX_ROUNDS == 64


def test_sessions_in_memory_follow_the_same_rules():
    from zdd_sdk.store import finish

    visitor = Visitor(make_sessions(stock=True), None)
    finish(visitor.visit(writing(visits=1)))
    exchange = visitor.exchange()
    session = finish(visitor.sessions.load(exchange))
    finish(visitor.visit(add_one))
    session.add("visits", 1)
    finish(visitor.depart(exchange))
    assert finish(visitor.visit(reading("visits"))).result == {"visits": 3}


def test_a_first_round_that_arrives_once_more_much_later_is_done(flow, visitor):
    """The value is what that round expected again, so only the token can tell."""
    flow(visitor.visit(writing(visits=5)))
    exchange = visitor.exchange()
    session = flow(visitor.sessions.load(exchange))
    session.add("visits", 1)
    keeper, ask, asked = visitor.sessions.keeper, visitor.sessions.keeper.ask, []

    async def overheard(store, wave):
        asked.append(wave)
        return await ask(store, wave)

    keeper.ask = overheard
    flow(Visitor(make_sessions(), flow.store, visitor.cookie).visit(writing(visits=7)))
    flow(session.save())
    keeper.ask = ask
    assert len(asked) == 2
    flow(Visitor(make_sessions(), flow.store, visitor.cookie).visit(writing(visits=5)))
    (again,) = flow(ask(flow.store, asked[0]))
    assert (again.status, value(flow, visitor)) == ("ok", 5)
