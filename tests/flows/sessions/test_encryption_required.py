"""``encrypt = "required"``: what is not encrypted is not read, never lost, and a login does not depend on it."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import ROOT, Visitor, key_of, login, make_sessions, reading, state, writing
from zdd_sdk.errors import MissingExtra, RecordNotSealed, RecordSealed, RecordTooNew
from zdd_sdk.http import problem_of
from zdd_sdk.sessions import codec
from zdd_sdk.store.record import frame, is_sealed

NEW_ROOT = "fedcba9876543210" * 4
PLANTED = codec.encode("planted")


@pytest.fixture
def visitor(flow):
    return Visitor(make_sessions(encrypt="required"), flow.store)


def served_by(visitor, **options):
    """The next request of the same browser is served by another release."""
    visitor.sessions = make_sessions(**options)
    return visitor


def refused(name, error=RecordNotSealed, match=""):
    """A handler to which a field is an error, and the others are not."""

    async def handler(session):
        with pytest.raises(error, match=rf"session\['{name}'\].*{match}"):
            session[name]
        return {other: session[other] for other in session if other != name}

    return handler


async def adding(session):
    session.add("a", 1)


def test_it_reads_and_writes_what_is_encrypted_in_as_many_trips(tap, flow, visitor, hash_of):
    flow(visitor.visit(writing(a=[1], b="two")))
    flow(visitor.visit(login("ada")))
    tap.reset()
    assert flow(visitor.visit(state)).result == ("ada", {"a": [1], "b": "two"})
    assert tap.trips == 1
    assert all(is_sealed(data) for name, data in hash_of(visitor.cookie).items() if name.startswith(b"a:"))


def test_a_planted_plain_field_is_not_read_and_counted(flow, visitor, wire, hash_of):
    flow(visitor.visit(writing(role="user", other=1)))
    sealed = hash_of(visitor.cookie)[b"a:role"]
    wire.ask("HSET", key_of(visitor.cookie), "a:role", PLANTED)
    assert flow(visitor.visit(refused("role", match="required"))).result == {"other": 1}
    assert visitor.sessions.counters["undecodable"] == {"1": 1}
    wire.ask("HSET", key_of(visitor.cookie), "a:role", sealed)
    assert flow(visitor.visit(reading("role"))).result == {"role": "user"}


def test_control_with_on_the_planted_field_is_read(flow, visitor, wire):
    flow(served_by(visitor, encrypt="on").visit(writing(role="user")))
    wire.ask("HSET", key_of(visitor.cookie), "a:role", PLANTED)
    assert flow(visitor.visit(reading("role"))).result == {"role": "planted"}


def test_as_a_problem_it_is_not_the_clients_fault():
    assert problem_of(RecordNotSealed("x")).status == 500


@pytest.mark.parametrize(
    "case",
    [
        (frame(b"\x63\x00later", format=99), RecordTooNew),
        (b"\x01\x02" + PLANTED[2:], RecordTooNew),
        (b"\x01\x03" + PLANTED[2:], RecordTooNew),
        (b"\x01\x01" + PLANTED[2:], RecordSealed),
        (b"\x01\x01", RecordSealed),
    ],
    ids=["newer format", "unknown flag", "sealed in another way", "plain that claims to be sealed", "only the claim"],
)
def test_whatever_else_lies_there_is_an_error_of_its_own_and_kept(flow, visitor, wire, hash_of, case):
    data, error = case
    flow(visitor.visit(writing(a=1, b=2)))
    wire.ask("HSET", key_of(visitor.cookie), "a:a", data)
    assert flow(visitor.visit(refused("a", error))).result == {"b": 2}
    flow(visitor.visit(writing(b=3)))
    flow(visitor.visit(login("ada")))
    assert hash_of(visitor.cookie)[b"a:a"] == data


def test_a_plain_field_survives_saves_and_logins_and_is_read_again_by_on(flow, visitor, hash_of):
    flow(served_by(visitor, encrypt="off").visit(writing(a=[1])))
    served_by(visitor, encrypt="required")
    flow(visitor.visit(writing(b=2)))
    flow(visitor.visit(login("ada")))
    assert not is_sealed(hash_of(visitor.cookie)[b"a:a"])
    assert flow(visitor.visit(refused("a"))).result == {"b": 2}
    assert flow(served_by(visitor, encrypt="on").visit(state)).result == ("ada", {"a": [1], "b": 2})


def test_writing_or_deleting_a_plain_field_mends_it(flow, visitor, hash_of):
    flow(served_by(visitor, encrypt="off").visit(writing(a=[1], b=[2])))
    served_by(visitor, encrypt="required")

    async def mend(session):
        session["a"] = [1]  # the very same value
        del session["b"]

    flow(visitor.visit(mend))
    assert is_sealed(hash_of(visitor.cookie)[b"a:a"])
    assert flow(visitor.visit(state)).result == (None, {"a": [1]})


def test_an_operation_on_a_plain_field_is_refused_and_loses_nothing(flow, visitor, hash_of):
    flow(served_by(visitor, encrypt="off").visit(writing(a=5)))
    before = hash_of(visitor.cookie)
    assert isinstance(flow(served_by(visitor, encrypt="required").visit(adding)).error, RecordNotSealed)
    assert hash_of(visitor.cookie) == before


def test_a_release_without_encryption_that_is_faster_at_the_same_field_is_not_overwritten(
    flow, visitor, hash_of, caplog
):
    """The mixed fleet that should not be: step 3 while step 1 still serves. Both answers are typed, nothing is lost."""
    flow(visitor.visit(writing(a=5, log=["x"])))
    exchange = visitor.exchange()
    flow(visitor.sessions.load(exchange))
    required = visitor.sessions
    flow(served_by(visitor, encrypt="off").visit(adding, keep=False))
    assert not is_sealed(hash_of(visitor.cookie)[b"a:a"])
    visitor.sessions = required
    reply = flow(visitor.answer(exchange, adding, keep=False, load=False))
    assert (reply.status, reply.cookie, "answered record-not-sealed" in caplog.text) == (500, None, True)
    assert flow(served_by(visitor, encrypt="on").visit(reading("a", "log"))).result == {"a": 6, "log": ["x"]}


def test_rolling_to_required_and_back_loses_nothing(flow, visitor, hash_of):
    for number, encrypt in enumerate(["on", "required", "on", "required", "required", "on"]):
        served_by(visitor, encrypt=encrypt)
        assert flow(visitor.visit(reading())).result == {f"f{n}": [n] for n in range(number)}
        flow(visitor.visit(writing(**{f"f{number}": [number]})))
    assert all(is_sealed(data) for name, data in hash_of(visitor.cookie).items() if name.startswith(b"a:"))


def test_the_secret_is_replaced_with_both_keys_in_every_release(flow, visitor):
    for number, roots in enumerate([(ROOT,), (ROOT, NEW_ROOT), (NEW_ROOT, ROOT), (ROOT, NEW_ROOT), (NEW_ROOT, ROOT)]):
        served_by(visitor, encrypt="required", roots=roots)
        assert flow(visitor.visit(reading())).result == {f"f{n}": [n] for n in range(number)}
        flow(visitor.visit(writing(**{f"f{number}": [number]})))
        if number == 2:
            flow(visitor.visit(login("ada")))
    assert flow(visitor.visit(state)).result[0] == "ada"


def test_wrong_keys_are_an_error_of_the_field_and_the_login_stands(flow, visitor, hash_of):
    flow(visitor.visit(writing(a=[1])))
    flow(visitor.visit(login("ada")))
    before = hash_of(visitor.cookie)[b"a:a"]
    served_by(visitor, encrypt="required", roots=(NEW_ROOT,))
    assert flow(visitor.visit(refused("a", RecordSealed, "none of the secrets here"))).result == {}
    flow(visitor.visit(writing(b=1)))
    assert hash_of(visitor.cookie)[b"a:a"] == before
    served_by(visitor, encrypt="required", roots=(ROOT, NEW_ROOT))
    assert flow(visitor.visit(state)).result == ("ada", {"a": [1], "b": 1})


@pytest.mark.parametrize("at", ["key id", "nonce", "text", "tag", "flags", "format"])
def test_any_changed_byte_is_noticed(flow, visitor, wire, hash_of, at):
    flow(visitor.visit(writing(a="x" * 40)))
    data = bytearray(hash_of(visitor.cookie)[b"a:a"])
    data[{"format": 0, "flags": 1, "key id": 2, "nonce": 6, "text": 20, "tag": -1}[at]] ^= 0x40
    wire.ask("HSET", key_of(visitor.cookie), "a:a", bytes(data))
    error = RecordTooNew if at == "flags" else RecordSealed
    assert flow(visitor.visit(refused("a", error))).result == {}
    assert hash_of(visitor.cookie)[b"a:a"] == bytes(data)


def test_a_field_moved_to_another_name_does_not_open_and_to_another_session_is_what_the_docs_say(
    flow, visitor, wire, hash_of
):
    """Bound to service, environment and name; not to a session: who writes to Redis can move a session as a whole."""
    flow(visitor.visit(writing(role="user", wish="admin")))
    wire.ask("HSET", key_of(visitor.cookie), "a:role", hash_of(visitor.cookie)[b"a:wish"])
    assert flow(visitor.visit(refused("role", RecordSealed, "moved"))).result == {"wish": "admin"}
    other = Visitor(visitor.sessions, flow.store)
    flow(other.visit(writing(role="guest")))
    flow(other.visit(login("eve")))
    flow(visitor.visit(writing(role="admin")))
    wire.ask("HSET", key_of(other.cookie), "a:role", hash_of(visitor.cookie)[b"a:role"])
    assert flow(other.visit(state)).result == ("eve", {"role": "admin"})


def test_a_service_without_the_package_does_not_start(monkeypatch):
    monkeypatch.setattr("zdd_sdk.secrets.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"zdd-sdk\[crypto\]"):
        make_sessions(encrypt="required")
