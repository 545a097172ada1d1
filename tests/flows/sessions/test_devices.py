"""The index of a user's sessions: listed, ended one by one, ended everywhere; the attacks and the races."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.flows.sessions.visitor import (
    COOKIE,
    ROOT,
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
from zdd_sdk.errors import SessionError, SessionGone, SessionUnavailable, SessionValueError, StoreUnavailable
from zdd_sdk.secrets import Secrets
from zdd_sdk.sessions import Sessions
from zdd_sdk.sessions.calls import SPARE
from zdd_sdk.sessions.devices import MAX_LABEL
from zdd_sdk.sessions.directory import turn_of
from zdd_sdk.sessions.ids import mint_id
from zdd_sdk.sessions.operations import Create, Dismiss, Revoke
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store import Keys

OUT = (None, {})


@pytest.fixture(params=["redis", "stock"])
def sessions(request):
    """Sessions in Redis and in memory, which behave alike."""
    return make_sessions(stock=request.param == "stock")


@pytest.fixture
def devices(flow, sessions):
    return lambda user="ada": flow(sessions.directory.devices(flow.store, user))


@pytest.fixture
def everywhere(flow, sessions):
    return lambda user="ada", keep=None: flow(sessions.directory.logout_everywhere(flow.store, user, keep))


@pytest.fixture
def dismiss(flow, sessions):
    return lambda handle, user="ada": flow(sessions.directory.logout_device(flow.store, user, handle))


def as_user(label):
    async def handler(session):
        session.login("ada", label=label)

    return handler


async def rotate(session):
    session.rotate()


async def everybody_else(session):
    return await session.logout_everywhere()


@pytest.fixture
def browser(flow, sessions):
    """Make a browser that is logged in."""

    def make(label="", user="ada"):
        visitor = Visitor(sessions, flow.store)
        flow(visitor.visit(as_user(label) if user == "ada" else login(user)))
        return visitor

    return make


@pytest.fixture
def who(flow):
    return lambda visitor: flow(visitor.visit(state)).result[0]


def test_each_login_is_listed_with_its_label(browser, devices):
    browser("Firefox")
    browser("Safari 텍스트 with blanks")
    found = devices()
    assert {device.label for device in found} == {"Firefox", "Safari 텍스트 with blanks"}
    now = dt.datetime.now(dt.UTC)
    for device in found:
        assert abs(device.created - now) < dt.timedelta(minutes=1)
        assert abs(device.seen - now) < dt.timedelta(minutes=1)
        assert dt.timedelta(days=13) < device.expires - now <= dt.timedelta(days=14, minutes=1)
    assert devices("bob") == ()


def test_the_session_that_asks_is_marked(flow, browser):
    browser()
    here = browser("here")

    async def own(session):
        return await session.devices()

    assert [device.label for device in flow(here.visit(own)).result if device.current] == ["here"]
    assert flow(Visitor(here.sessions, flow.store).visit(own)).result == ()


def test_a_device_stays_one_through_rotations_and_logins(flow, browser, devices):
    visitor = browser("Firefox")
    (before,) = devices()
    for handler in (rotate, login("ada")):
        flow(visitor.visit(handler))
        (after,) = devices()
        assert (after.label, after.created, after.handle[:22]) == ("Firefox", before.created, before.handle[:22])
        assert after.handle != before.handle


def test_logout_takes_it_off_the_list(flow, browser, devices):
    visitor = browser()
    flow(visitor.answer(visitor.exchange(), logout, load=False))
    assert devices() == ()


def test_another_users_login_takes_it_off_the_first_ones_list(flow, browser, devices):
    visitor = browser()
    flow(visitor.visit(login("bob")))
    assert (len(devices("ada")), len(devices("bob"))) == (0, 1)


def test_a_lifetime_that_is_over_takes_it_off_the_list(flow, browser, devices):
    visitor = browser()

    async def end(session):
        session.set_lifetime(absolute=0)

    flow(visitor.visit(end))
    assert devices() == ()


def test_log_out_everywhere_ends_all_but_the_one_kept(flow, browser, devices, who, everywhere):
    others, here = [browser(), browser()], browser("here")
    bob = browser(user="bob")
    assert flow(here.visit(everybody_else)).result == 2
    assert [who(other) for other in others] == [None, None]
    assert (who(here), who(bob)) == ("ada", "bob")
    assert [device.label for device in devices()] == ["here"]
    assert everywhere() == 1
    assert (who(here), devices()) == (None, ())


def test_the_kept_one_can_go_on_saving_rotating_and_logging_in(flow, browser, who):
    here = browser()

    async def change_password(session):
        await session.logout_everywhere()
        session["note"] = "changed"
        session.rotate()

    flow(here.visit(change_password))
    assert flow(here.visit(state)).result == ("ada", {"note": "changed"})
    flow(here.visit(rotate))
    flow(here.visit(login("ada")))
    assert who(here) == "ada"


def test_without_keep_the_own_session_ends_and_its_cookie_goes(flow, browser, devices):
    here, other = browser(), browser()

    async def all_of_them(session):
        return await session.logout_everywhere(keep=False)

    reply = flow(here.visit(all_of_them))
    assert "Max-Age=0" in reply.cookie
    assert flow(other.visit(state)).result == OUT
    assert devices() == ()


def test_a_login_afterwards_is_a_login(browser, everywhere, who):
    browser()
    everywhere()
    assert who(browser()) == "ada"


def test_ending_one_device(browser, devices, dismiss, who):
    lost, here = browser("lost"), browser("here")
    (handle,) = (device.handle for device in devices() if device.label == "lost")
    assert dismiss(handle)
    assert (who(lost), who(here)) == (None, "ada")
    assert not dismiss(handle)


def test_a_handle_follows_the_device_through_a_rotation(flow, browser, devices, dismiss, who):
    visitor = browser()
    (before,) = devices()
    flow(visitor.visit(rotate))
    assert dismiss(before.handle)
    assert who(visitor) is None


def test_attack_a_handle_leads_to_no_session(flow, browser, devices, sessions):
    browser()
    (device,) = devices()
    tag = sessions.keeper.places.tags("ada")[0]
    digest = device.handle[22:]
    for guess in (device.handle, digest, f"{tag}.{digest}", f"{tag}.{digest[:43]}", f"{tag}.{device.handle[:43]}"):
        for cookie in (guess, f"__Host-{guess}"):
            assert flow(Visitor(sessions, flow.store).visit(state, cookies=[f"{COOKIE}={cookie}"])).result == OUT


def test_attack_nobody_ends_the_device_of_another(browser, devices, dismiss, who):
    ada, mallory = browser(), browser(user="mallory")
    (target,), (own,) = devices(), devices("mallory")
    assert not dismiss(target.handle, "mallory")
    assert not dismiss(own.handle[:22] + target.handle[22:], "bob")
    assert (who(ada), who(mallory)) == ("ada", "mallory")


def test_attack_a_handle_spliced_from_two_devices_ends_the_named_one_only(browser, devices, dismiss, who):
    one, other = browser("one"), browser("other")
    handles = {device.label: device.handle for device in devices()}
    assert dismiss(handles["one"][:22] + handles["other"][22:])
    assert (who(one), who(other)) == (None, "ada")


@pytest.mark.parametrize("handle", ["", "x", "0" * 85, "0" * 87, "G" * 86, "0" * 85 + "\n", None, 5])
def test_what_is_no_handle_asks_nothing(tap, dismiss, handle):
    tap.reset()
    assert not dismiss(handle)
    assert tap.trips == 0


def test_labels_are_cut_and_never_break_an_entry(flow, browser, devices):
    browser("é" * 1000)
    browser("a\nb\x00c 1 2 3 \udcff")
    assert {device.label for device in devices()} == {"é" * (MAX_LABEL // 2), "a\nb\x00c 1 2 3 ?"}


def test_users_that_cannot_be(everywhere):
    with pytest.raises(SessionValueError, match="a user's id"):
        everywhere("")


def test_race_a_save_under_way_is_gone(flow, browser, everywhere, sessions):
    visitor = browser()
    exchange = visitor.exchange()
    flow(sessions.load(exchange))["late"] = 1
    everywhere()
    reply = flow(visitor.depart(exchange))
    assert (reply.status, reply.cookie, sessions.counters["gone"]) == (200, None, 1)
    assert flow(visitor.visit(state)).result == OUT


def test_race_a_rotation_under_way_does_not_bring_it_back(flow, browser, everywhere, devices, sessions):
    visitor = browser()
    exchange = visitor.exchange()
    flow(sessions.load(exchange)).rotate()
    everywhere()
    reply = flow(visitor.depart(exchange))
    assert (reply.cookie, sessions.counters["gone"], devices()) == (None, 1, ())


def test_race_who_has_been_logged_out_keeps_nothing_by_logging_out_the_others(flow, browser, everywhere, sessions, who):
    """A thief's request is under way while the owner ends everything: it must neither live on nor end the owner."""
    thief = browser()
    session = flow(sessions.load(thief.exchange()))
    everywhere()
    owner = browser()
    flow(session.logout_everywhere())
    assert who(thief) is None
    assert who(owner) is None  # ended by a request that was under way, and can log in again
    assert who(browser()) == "ada"


def test_race_what_a_rotation_continues_is_never_made_once_it_has_ended(flow, browser, everywhere, sessions):
    visitor = browser()
    old = flow(sessions.load(visitor.exchange())).turn.stored
    everywhere()
    place = sessions.keeper.places.place(mint_id(sessions.keeper.places.tags("ada")[0]))
    create = Create(place, "ada", {}, created=old.created, device=old.device, since=old.since)
    assert flow(sessions.keeper.ask(flow.store, [create]))[0].status == "gone"


def test_race_an_explicit_save_says_so(flow, browser, everywhere, sessions):
    visitor = browser()
    session = flow(sessions.load(visitor.exchange()))
    session["late"] = 1
    everywhere()
    with pytest.raises(SessionGone):
        flow(session.save())


def test_race_a_dead_session_is_not_listed_again(flow, browser, devices, everywhere):
    visitors = [browser() for _ in range(3)]
    everywhere()
    for visitor in visitors:
        flow(visitor.visit(writing(a=1)))
        flow(visitor.visit(state))
    assert devices() == ()


def test_race_logins_beside_log_out_everywhere_all_end_or_live_and_are_listed(flow, sessions, devices):
    visitors = [Visitor(sessions, flow.store) for _ in range(8)]

    async def end():
        await sessions.directory.logout_everywhere(flow.store, "ada")

    flow.gather(
        *(visitor.visit(login("ada")) for visitor in visitors[:4]),
        end(),
        *(v.visit(login("ada")) for v in visitors[4:]),
    )
    alive = sum(flow(visitor.visit(state)).result[0] == "ada" for visitor in visitors)
    assert len(devices()) == alive


def test_control_a_set_beside_the_sessions_lists_the_dead_and_misses_the_living(wire):
    """An index kept by the application (SADD at login, SREM at logout), as principals are in other libraries."""
    for name in ("one", "two"):
        wire.ask("SET", f"session:{name}", "ada", "PX", 30_000)
        wire.ask("SADD", "sessions-of:ada", name)
    wire.ask("DEL", "session:one")  # it has expired
    members = wire.ask("SMEMBERS", "sessions-of:ada")
    wire.ask("SET", "session:three", "ada")  # a login while they are being ended
    wire.ask("DEL", *(b"session:" + member for member in members))
    assert b"one" in members
    assert wire.ask("GET", "session:three") == b"ada"


@pytest.fixture
def visitor(flow):
    return Visitor(make_sessions(), flow.store)


def test_each_is_one_trip(tap, flow):
    sessions = make_sessions()
    visitor = Visitor(sessions, flow.store)
    flow(visitor.visit(login("ada")))
    directory = sessions.directory

    def trips(coroutine):
        tap.reset()
        result = flow(coroutine)
        return tap.trips, result

    for _ in range(2):  # the second time scripts are known
        (device,) = flow(directory.devices(flow.store, "ada"))
        count, result = trips(directory.logout_device(flow.store, "ada", device.handle))
        flow(visitor.visit(login("ada")))
        listed, ended = (
            trips(directory.devices(flow.store, "ada")),
            trips(directory.logout_everywhere(flow.store, "ada")),
        )
        flow(visitor.visit(login("ada")))
    assert (count, result) == (1, True)
    assert (listed[0], ended) == (1, (1, 1))


def test_blocking_and_aio_twins(flow, visitor):
    sessions = make_sessions()
    sessions._blocking = lambda: flow.store
    sessions.aio._store = lambda: flow.store
    flow(visitor.visit(login("ada")))
    if flow.kind == "blocking":
        (device,) = sessions.devices("ada")
        assert sessions.logout_device("ada", device.handle)
        assert sessions.logout_everywhere("ada") == 0
    else:
        (device,) = flow(sessions.aio.devices("ada"))
        assert flow(sessions.aio.logout_device("ada", device.handle))
        assert flow(sessions.aio.logout_everywhere("ada")) == 0


def test_without_a_store_it_says_so():
    with pytest.raises(StoreUnavailable):
        make_sessions().devices("ada")


def test_neither_ids_nor_users_are_in_the_index(flow, visitor, wire):
    flow(visitor.visit(login("ada@example.org")))
    flat = b" ".join(wire.ask("HGETALL", index_of("ada@example.org")))
    assert visitor.cookie.partition(".")[2].encode() not in flat
    assert b"example" not in flat


def test_the_index_outlives_every_session_in_it(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    assert wire.ask("PTTL", index_of("ada")) >= 30 * 86_400_000 + SPARE - 5000

    async def long(session):
        session.set_lifetime(idle=100 * 86400)

    flow(visitor.visit(long))
    assert wire.ask("PTTL", index_of("ada")) >= 100 * 86_400_000
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert wire.ask("PTTL", index_of("ada")) >= 100 * 86_400_000


def test_a_listed_session_whose_index_is_lost_has_ended(flow, visitor, wire):
    """What had ended could be alive again otherwise: only the index knows."""
    flow(visitor.visit(login("ada")))
    wire.ask("DEL", index_of("ada"))
    assert flow(visitor.visit(state)).result == OUT


def test_an_index_that_is_no_hash_lets_nobody_in_and_fails_nothing_else(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    wire.ask("SET", index_of("ada"), "in the way")
    reply = flow(visitor.visit(state))
    assert (reply.status, reply.result) == (200, OUT)
    assert flow(Visitor(visitor.sessions, flow.store).visit(login("ada"))).status == 503


def test_expired_ones_leave_the_list(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    wire.ask("HSET", index_of("ada"), "d:old", f"1 {'0' * 64} 1 1 1 gone", "d:odd", "2 of a later release")
    (device,) = flow(visitor.sessions.directory.devices(flow.store, "ada"))
    assert device.handle[22:] == key_of(visitor.cookie)[-64:]
    assert b"d:old" not in wire.ask("HKEYS", index_of("ada"))


def test_the_list_is_bounded_by_who_was_not_seen_for_the_longest_time(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    far = 4_000_000_000_000
    for number in range(1, 1000):
        entry = f"1 {number:064x} 1 {2_000_000_000_000 + number} {far} x"
        wire.ask("HSET", index_of("ada"), f"d:{number:022x}", entry)
    wire.ask("HSET", index_of("ada"), f"d:{7:022x}", f"1 {7:064x} 1 5 {far} oldest")
    flow(Visitor(visitor.sessions, flow.store).visit(login("ada")))
    fields = wire.ask("HKEYS", index_of("ada"))
    assert sum(field.startswith(b"d:") for field in fields) == 1000
    assert f"d:{7:022x}".encode() not in fields


def test_seen_follows_the_throttled_touch(flow, visitor, wire):
    flow(visitor.visit(login("ada")))
    index, (field,) = index_of("ada"), [f for f in wire.ask("HKEYS", index_of("ada")) if f.startswith(b"d:")]
    one, digest, created, _seen, expires, label = wire.ask("HGET", index, field).split(b" ", 5)
    wire.ask("HSET", index, field, b" ".join((one, digest, created, b"5", expires, label)))

    def seen():
        return int(wire.ask("HGET", index, field).split(b" ")[3])

    flow(visitor.visit(state))
    assert seen() == 5
    wire.ask("PEXPIRE", key_of(visitor.cookie), 14 * 86_400_000 + SPARE - 3_700_000)
    flow(visitor.visit(state))
    assert seen() > 5


def test_every_root_of_the_secret_is_asked(flow):
    old = make_sessions()
    both = Sessions(SessionSettings(), Keys("test", "test"), lambda: Secrets(["n" * 40, ROOT]), release="2")
    before, after = Visitor(old, flow.store), Visitor(both, flow.store)
    flow(before.visit(login("ada")))
    flow(after.visit(login("ada")))
    before.sessions = both
    assert len(flow(both.directory.devices(flow.store, "ada"))) == 2
    assert flow(both.directory.logout_everywhere(flow.store, "ada")) == 2
    assert [flow(visitor.visit(state)).result for visitor in (before, after)] == [OUT, OUT]


def test_the_own_session_is_found_though_its_root_is_gone(flow, visitor):
    flow(visitor.visit(login("ada")))
    visitor.sessions = Sessions(SessionSettings(), Keys("test", "test"), lambda: Secrets(["n" * 40]), release="2")

    async def own(session):
        return await session.devices(), await session.logout_everywhere()

    devices, ended = flow(visitor.visit(own)).result
    assert ([device.current for device in devices], ended) == ([True], 0)
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_sent_again_it_counts_once(flow, visitor, wire):
    """A reply that was lost: the call goes out again under the same token."""
    sessions = visitor.sessions
    for _ in range(2):
        flow(Visitor(sessions, flow.store).visit(login("ada")))
    revoke = Revoke(index_of("ada"), "ada", b"token-01")
    assert [flow(sessions.keeper.ask(flow.store, [revoke]))[0].count for _ in range(2)] == [2, 2]
    flow(visitor.visit(login("ada")))
    assert flow(visitor.visit(reading())).status == 200
    (device,) = flow(sessions.directory.devices(flow.store, "ada"))
    dismiss = Dismiss(key_of(visitor.cookie), index_of("ada"), device.handle[:22], b"token-02")
    assert [flow(sessions.keeper.ask(flow.store, [dismiss]))[0].count for _ in range(2)] == [1, 1]


def test_redis_away_is_an_error_and_not_an_empty_list(tap, flow, visitor):
    flow(visitor.visit(login("ada")))
    tap.refuse()
    for coroutine in (
        visitor.sessions.directory.devices(flow.store, "ada"),
        visitor.sessions.directory.logout_everywhere(flow.store, "ada"),
    ):
        with pytest.raises(StoreUnavailable):
            flow(coroutine)


def test_a_password_change_sent_twice_at_once_logs_its_user_not_out(flow, browser, who, sessions):
    """The second finds a marker in place of what it is to keep, and keeps what the first has made of it."""
    other, here = browser(), browser()
    second = here.exchange()
    session = flow(sessions.load(second))

    async def change_password(session):
        await session.logout_everywhere()
        session.rotate()

    flow(here.visit(change_password))
    flow(change_password(session))
    reply = flow(here.depart(second))
    assert (reply.status, reply.cookie) == (200, None)
    assert (who(here), who(other)) == ("ada", None)


def test_attack_nobody_outlives_a_log_out_everywhere_by_asking_for_another(flow, browser, who, sessions, devices):
    """A thief under way with the id of before: keeping what the owner has by now, he must get nothing of his own."""
    owner = browser()
    exchange = Visitor(sessions, flow.store, owner.cookie).exchange()
    thief = flow(sessions.load(exchange))

    async def change_password(session):
        await session.logout_everywhere()
        session.rotate()

    flow(owner.visit(change_password))
    flow(thief.logout_everywhere())
    thief.rotate()
    reply = flow(owner.depart(exchange))
    assert reply.cookie is None
    assert (who(owner), len(devices())) == ("ada", 1)


def test_keep_takes_the_session_itself_once_it_was_loaded(flow, browser, who, sessions):
    here, other = browser(), browser()
    exchange = here.exchange()
    with pytest.raises(SessionError, match="not loaded"):
        turn_of(sessions.open(exchange))
    assert who(here) == "ada"
    session = flow(sessions.load(exchange))
    assert flow(sessions.directory.logout_everywhere(flow.store, "ada", turn_of(session))) == 1
    assert (who(here), who(other)) == ("ada", None)


@pytest.mark.parametrize("wish", ["devices", "logout_everywhere", "logout_device"])
def test_redis_away_at_the_load_is_an_error_too_where_anybody_may_go_on(tap, flow, wish):
    visitor = Visitor(make_sessions(on_unavailable="anonymous"), flow.store)
    flow(visitor.visit(login("ada")))
    tap.refuse()
    session = flow(visitor.sessions.load(visitor.exchange()))
    assert session.user is None
    with pytest.raises(SessionUnavailable):
        flow(getattr(session, wish)(*(["x"] if wish == "logout_device" else [])))


@pytest.mark.parametrize("on_gone", ["ignore", "401"])
def test_ending_what_has_ended_is_no_error(flow, on_gone):
    """As where the reply to the save that ends it is lost, and the save sent again."""
    visitor = Visitor(make_sessions(on_gone=on_gone), flow.store)
    flow(visitor.visit(login("ada")))
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange)).set_lifetime(absolute=0)
    flow(visitor.sessions.directory.logout_everywhere(flow.store, "ada"))
    assert flow(visitor.depart(exchange)).status == 200
    assert visitor.sessions.counters["gone"] == 0


def test_a_label_may_be_missing(flow, browser, devices):
    browser(None)
    assert [device.label for device in devices()] == [""]
