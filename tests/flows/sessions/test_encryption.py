"""Encrypted attributes: in Redis, over a change of secret, between releases that encrypt and releases that do not."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import ROOT, Visitor, key_of, login, make_sessions, reading, state, writing
from zdd_sdk.errors import MissingExtra, RecordSealed, RecordTooNew
from zdd_sdk.sessions import codec
from zdd_sdk.store import Keys
from zdd_sdk.store.record import is_sealed, unframe

NEW_ROOT = "fedcba9876543210" * 4


@pytest.fixture
def visitor(flow):
    return Visitor(make_sessions(encrypt="on"), flow.store)


def handed_to(visitor, **options):
    """The next request of the same browser is served by another release."""
    visitor.sessions = make_sessions(**options)
    return visitor


def attributes(raw):
    return {name: data for name, data in raw.items() if name.startswith(b"a:")}


def test_redis_holds_no_word_of_it(flow, visitor, hash_of):
    flow(visitor.visit(writing(address="12 Long Street", cart=["tea"])))
    raw = attributes(hash_of(visitor.cookie))
    assert all(is_sealed(data) for data in raw.values())
    assert b"Long Street" not in b"".join(raw.values())
    assert flow(visitor.visit(reading())).result == {"address": "12 Long Street", "cart": ["tea"]}


def test_control_without_it_redis_holds_every_word(flow, visitor, hash_of):
    flow(handed_to(visitor).visit(writing(address="12 Long Street")))
    assert b"Long Street" in hash_of(visitor.cookie)[b"a:address"]


def test_trips_stay_one_and_two(tap, flow, visitor):
    for _ in range(2):
        flow(visitor.visit(writing(a=[1])))
        flow(visitor.visit(writing(a=[2])))
    tap.reset()
    flow(visitor.visit(reading("a")))
    assert tap.trips == 1
    flow(visitor.visit(writing(a=[3])))
    assert tap.trips == 3


def test_what_did_not_change_is_not_sealed_anew(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=[1], b=2)))
    before = attributes(hash_of(visitor.cookie))
    flow(visitor.visit(writing(b=3)))
    flow(visitor.visit(writing(a=[1])))
    after = attributes(hash_of(visitor.cookie))
    assert (after[b"a:a"], after[b"a:b"] != before[b"a:b"]) == (before[b"a:a"], True)


def test_it_survives_logins_and_rotations(flow, visitor):
    async def rotate(session):
        session.rotate()

    flow(visitor.visit(writing(a=[1])))
    flow(visitor.visit(login("ada")))
    flow(visitor.visit(rotate))
    assert flow(visitor.visit(state)).result == ("ada", {"a": [1]})


def test_merges_hold(flow, visitor):
    async def add(session):
        session.add("visits", 1)

    flow(visitor.visit(writing(visits=0)))
    exchanges = [visitor.exchange() for _ in range(10)]
    for exchange in exchanges:
        flow(visitor.sessions.load(exchange))
    flow.gather(*(visitor.answer(exchange, add, keep=False, load=False) for exchange in exchanges))
    assert flow(visitor.visit(reading("visits"))).result == {"visits": 10}


def test_on_and_off_again_with_readers_of_both(flow, visitor, hash_of):
    """Rolling deployments, both ways: old and new instances take turns at one session."""
    for number, encrypt in enumerate(["off", "on", "off", "on", "on", "off", "off"]):
        handed_to(visitor, encrypt=encrypt)
        before = flow(visitor.visit(reading())).result
        assert len(before) == number
        assert all(value == [int(name[1:])] for name, value in before.items())
        flow(visitor.visit(writing(**{f"f{number}": [number]})))
        assert is_sealed(hash_of(visitor.cookie)[b"a:f%d" % number]) is (encrypt == "on")
    assert len(flow(visitor.visit(reading())).result) == 7


def test_a_secret_is_replaced_in_three_deployments(flow, visitor):
    for number, roots in enumerate([(ROOT,), (ROOT, NEW_ROOT), (NEW_ROOT, ROOT), (ROOT, NEW_ROOT), (NEW_ROOT, ROOT)]):
        handed_to(visitor, encrypt="on", roots=roots)
        assert len(flow(visitor.visit(reading())).result) == number
        flow(visitor.visit(writing(**{f"f{number}": number})))
    flow(visitor.visit(writing(**{f"f{number}": [number] for number in range(5)})))
    handed_to(visitor, encrypt="on", roots=(NEW_ROOT,))
    assert flow(visitor.visit(reading())).result == {f"f{number}": [number] for number in range(5)}


def unreadable(name):
    async def handler(session):
        with pytest.raises(RecordSealed, match=rf"session\['{name}'\]") as caught:
            session[name]
        return str(caught.value)

    return handler


def test_control_a_secret_replaced_at_once_loses_it_for_readers(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=[1], b=2)))
    before = hash_of(visitor.cookie)[b"a:a"]
    handed_to(visitor, encrypt="on", roots=(NEW_ROOT,))
    assert "none of the secrets here" in flow(visitor.visit(unreadable("a"))).result
    flow(visitor.visit(writing(b=3, c=4)))
    assert hash_of(visitor.cookie)[b"a:a"] == before
    assert flow(visitor.visit(reading("b", "c"))).result == {"b": 3, "c": 4}
    handed_to(visitor, encrypt="on", roots=(NEW_ROOT, ROOT))
    assert flow(visitor.visit(reading("a"))).result == {"a": [1]}


def test_swapped_fields_do_not_open(flow, visitor, wire, hash_of):
    flow(visitor.visit(writing(role="user", wish="admin", other=1)))
    wire.ask("HSET", key_of(visitor.cookie), "a:role", hash_of(visitor.cookie)[b"a:wish"])
    assert "moved" in flow(visitor.visit(unreadable("role"))).result
    assert flow(visitor.visit(reading("other", "wish"))).result == {"other": 1, "wish": "admin"}


def test_control_plain_fields_can_be_swapped(flow, visitor, wire, hash_of):
    flow(handed_to(visitor).visit(writing(role="user", wish="admin")))
    wire.ask("HSET", key_of(visitor.cookie), "a:role", hash_of(visitor.cookie)[b"a:wish"])
    assert flow(visitor.visit(reading("role"))).result == {"role": "admin"}


@pytest.mark.parametrize(
    "change",
    [lambda d: d[:-1], lambda d: d[:7], lambda d: d[:-1] + bytes([d[-1] ^ 1])],
    ids=["cut", "cut in the key id", "changed"],
)
def test_changed_bytes_do_not_open_and_are_counted_and_kept(flow, visitor, wire, hash_of, change):
    flow(visitor.visit(writing(a=1, b=2)))
    damaged = change(hash_of(visitor.cookie)[b"a:a"])
    wire.ask("HSET", key_of(visitor.cookie), "a:a", damaged)
    flow(visitor.visit(unreadable("a")))
    assert visitor.sessions.counters["undecodable"] == {"1": 1}
    flow(visitor.visit(login("ada")))
    assert hash_of(visitor.cookie)[b"a:a"] == damaged
    assert flow(visitor.visit(reading("b"))).result == {"b": 2}


@pytest.mark.parametrize("keys", [Keys("test", "staging"), Keys("other", "test")])
def test_another_environment_or_service_cannot_open_it(flow, visitor, wire, hash_of, keys):
    from zdd_sdk.sessions.ids import parse_id

    flow(visitor.visit(writing(a=1)))
    raw = hash_of(visitor.cookie)
    copied = parse_id(visitor.cookie).key(keys)
    wire.ask("HSET", copied, *(part for pair in raw.items() for part in pair))
    wire.ask("PEXPIRE", copied, 100_000_000)
    handed_to(visitor, encrypt="on", keys=keys)
    flow(visitor.visit(unreadable("a")))


def test_a_reader_without_the_package_keeps_it(flow, visitor, hash_of, monkeypatch):
    flow(visitor.visit(writing(a=1, b=2)))
    before = hash_of(visitor.cookie)[b"a:a"]
    handed_to(visitor, encrypt="off")
    monkeypatch.setattr("zdd_sdk.secrets.find_spec", lambda _: None)
    assert "pip install 'zdd-sdk[crypto]'" in flow(visitor.visit(unreadable("a"))).result
    flow(visitor.visit(writing(c=3)))
    flow(visitor.visit(login("ada")))
    assert hash_of(visitor.cookie)[b"a:a"] == before
    assert "c" in flow(visitor.visit(state_of("c"))).result
    monkeypatch.undo()
    assert flow(visitor.visit(state)).result == ("ada", {"a": 1, "b": 2, "c": 3})


def state_of(name):
    async def handler(session):
        return {name: session[name]}

    return handler


def test_a_writer_without_the_package_does_not_start(monkeypatch):
    monkeypatch.setattr("zdd_sdk.secrets.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"zdd-sdk\[crypto\]"):
        make_sessions(encrypt="on")


def test_a_release_from_before_encryption_takes_it_for_newer(flow, visitor, hash_of):
    """What 0.1.0 does with a set flag, which it did not know: the same check, without the flag."""
    flow(visitor.visit(writing(a=1)))
    data = hash_of(visitor.cookie)[b"a:a"]
    with pytest.raises(RecordSealed):
        unframe(data)
    with pytest.raises(RecordTooNew):
        unframe(bytes((data[0], 2)) + data[2:])
    with pytest.raises(RecordSealed):
        codec.decode(data)
