"""Which requests are the same: no honest retry may look like another request, and no other request like a retry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import SettingsError
from zdd_sdk.http.body import Content, RequestBody
from zdd_sdk.idempotency.fingerprint import Fingerprints, read_fingerprint
from zdd_sdk.secrets import Secrets
from zdd_sdk.store import finish

OLD, NEW = "o" * 32, "n" * 32
GOLDEN = (
    "j1.NzdO.flsC9lIRShRVPougtPs-Co",
    "j1.dBRl.gDCozWxdSB-w7W67zvTyoS",
    "r1.NzdO.cnjDpkwBTZO1SjF1e6_-CD",
    "r1.dBRl.dkJ_3-ZBD-Z8-HzWtaM5mv",
)
GOLDEN_SELECTED = "s1-7bfR9I.NzdO.Tq2j3LtXyWJyC1geGlNpoV"
FORM = "application/x-www-form-urlencoded"


def content(data: Any, kind: str = "application/json") -> Content:
    body = RequestBody(kind)
    body.feed(data if isinstance(data, bytes) else json.dumps(data).encode())
    body.end()
    return finish(body.whole())


def take(
    data: Any = b"",
    *,
    spec: Any = None,
    path: Mapping[str, object] | None = None,
    query: str = "",
    bound: Mapping[str, object] | None = None,
    roots: tuple[str, ...] = (NEW,),
    operation: str = "payments.create",
    kind: str = "application/json",
) -> tuple[str, ...]:
    fingerprints = Fingerprints(spec, Secrets(roots), operation)
    return fingerprints.of_request(content(data, kind), path or {}, query, bound or {})


def called(spec: Any = None, **bound: object) -> tuple[str, ...]:
    return Fingerprints(spec, Secrets([NEW]), "mails.send").of_call(bound)


def same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """What the record's scripts say: some candidate is in both."""
    return bool(set(one) & set(other))


def algorithms(found: tuple[str, ...]) -> list[str]:
    return [one.split(".")[0] for one in found]


def test_form():
    for one in take({"a": 1}):
        algorithm, key, digest = one.split(".")
        assert algorithm in {"j1", "r1"}
        assert (len(key), len(digest)) == (4, 22)
        assert one.isascii()
        assert " " not in one
    assert algorithms(take({"a": 1})) == ["j1", "r1"]
    assert algorithms(take(b"\xff")) == algorithms(take(b"{}", kind="text/plain")) == ["r1"]


def test_the_bytes_of_this_release_are_known():
    """What is in Redis must be comparable for one retention: a change here is a new algorithm's name."""
    found = take({"amount": 10.5}, path={"id": 7}, query="b=2&a=1", roots=(NEW, OLD))
    assert found == GOLDEN
    (selected,) = take({"amount": 10.5}, spec=("amount",))
    assert selected == GOLDEN_SELECTED


# Everything


def test_the_same_again():
    assert take({"a": 1, "b": [2]}) == take({"a": 1, "b": [2]})
    assert same(take(b'{"a":1,"b":2.50}'), take(b' {"b": 2.5,\n"a": 1}'))


@given(st.decimals(0, 10**9, places=2), st.decimals(0, 10**9, places=2))
def test_other_amounts_are_other_requests(one: decimal.Decimal, other: decimal.Decimal):
    first, second = take(b'{"amount":%b}' % str(one).encode()), take(b'{"amount":%b}' % str(other).encode())
    assert same(first, second) is (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"amount": 11}},
        {"data": b'{"amount": "10"}'},
        {"path": {"order": 8}},
        {"path": {"other": 7}},
        {"path": {}},
        {"query": "dry=2"},
        {"query": "dry=1&x="},
        {"query": ""},
        {"operation": "payments.refund"},
        {"roots": (OLD,)},
        {"kind": "text/plain", "data": b'{"amount":10 }'},
    ],
)
def test_another_request(change: dict[str, Any]):
    base: dict[str, Any] = {"data": {"amount": 10}, "path": {"order": 7}, "query": "dry=1"}
    assert not same(take(**base), take(**{**base, **change}))


def test_no_two_lists_of_words_become_one():
    whole = [
        take(path={"a": "b"}, query="c=d"),
        take(path={"a": "bc"}, query="=d"),
        take(path={"ab": ""}, query="c=d"),
        take(path={}, query="a=b&c=d"),
        take(path={"a": "b", "c": "d"}),
        take(path={"a": "b"}, query="c=d", operation="payments.creat"),
        take(path={"a": "b"}, query="cd"),
    ]
    assert not any(same(one, other) for one, other in itertools.combinations(whole, 2))


def test_order_of_names_does_not_count_order_of_values_does():
    assert same(take(query="a=1&b=2", path={"x": 1, "y": 2}), take(query="b=2&a=1", path={"y": 2, "x": 1}))
    assert not same(take(query="a=1&a=2"), take(query="a=2&a=1"))
    assert same(take(query="a=%C3%BC+b"), take(query="a=ü%20b"))
    assert not same(take(query="a=%ff"), take(query="a=%fe"))


def test_arguments_are_not_looked_at_in_a_request():
    """They hold sessions and clocks; what the client said is in path, query and body."""
    assert same(take({"a": 1}, bound={"db": object()}), take({"a": 1}, bound={"db": object()}))


def test_multipart():
    def form(boundary: str, amount: bytes) -> tuple[str, ...]:
        part = b'--%b\r\nContent-Disposition: form-data; name="amount"\r\n\r\n%b\r\n--%b--\r\n'
        data = part % (boundary.encode(), amount, boundary.encode())
        return take(data, kind=f"multipart/form-data; boundary={boundary}")

    assert same(form("drawn-first", b"10"), form("drawn-again", b"10"))
    assert not same(form("drawn-first", b"10"), form("drawn-first", b"11"))


# Secrets and releases


def test_a_rotation_of_the_secret_forgets_nothing():
    before, during, after = (take({"a": 1}, roots=roots) for roots in [(OLD,), (NEW, OLD), (NEW,)])
    assert same(before, during)
    assert same(during, after)
    assert not same(before, after)


def test_without_the_secret_a_body_cannot_be_guessed():
    assert not {one.split(".")[2] for one in take({"pin": 1}, roots=(OLD,))} & {
        one.split(".")[2] for one in take({"pin": 1}, roots=(NEW,))
    }


def test_a_new_spec_rolls_out_and_back_beside_the_old_one():
    old, new = None, [("amount",), None]
    body = {"amount": 10, "sent_at": 1}
    assert same(take(body, spec=old), take(body, spec=new))
    assert same(take(body, spec=new), take({**body, "sent_at": 2}, spec=new))
    assert not same(take(body, spec=new), take({**body, "amount": 11}, spec=new))
    assert not same(take(body, spec=old), take(body, spec=("amount",))), (
        "control: without the old one it is a false 422"
    )


# Selected fields


def test_only_selected_fields_count():
    spec = ("amount", "card.number")
    one = take({"amount": 10.0, "card": {"number": "4", "cvc": 1}, "at": 1}, spec=spec, query="utm=1")
    assert same(one, take({"at": 2, "card": {"cvc": 2, "number": "4"}, "amount": 10}, spec=spec, query="utm=2"))
    assert not same(one, take({"amount": 10, "card": {"number": "5"}}, spec=spec))
    assert not same(one, take({"amount": 10, "card": {"number": "4"}}, spec=spec, path={"id": 1}))
    assert algorithms(one) == algorithms(take({}, spec=spec[::-1])) != algorithms(take({}, spec=("amount",)))


def test_a_field_that_is_missing_is_neither_null_nor_empty():
    found = [take(data, spec=("a.b",)) for data in ({}, {"a": {"b": None}}, {"a": {"b": ""}}, {"a": {"b": "absent"}})]
    assert not any(same(one, other) for one, other in itertools.combinations(found, 2))
    assert same(take({}, spec=("a.b",)), take({"a": 1}, spec=("a.b",)))


def test_positions_in_lists():
    one = take({"lines": [{"price": 1}, {"price": 2}]}, spec=("lines.1.price",))
    assert same(one, take({"lines": [{"price": 9}, {"price": 2}]}, spec=("lines.1.price",)))
    assert not same(one, take({"lines": [{"price": 2}]}, spec=("lines.1.price",)))
    assert same(take({"lines": [1]}, spec=("lines.first",)), take({}, spec=("lines.first",)))


def test_selected_fields_of_a_form_and_of_what_has_no_fields():
    one = take(b"amount=1&at=1", spec=("amount",), kind=FORM)
    assert same(one, take(b"at=2&amount=1", spec=("amount",), kind=FORM))
    assert not same(one, take(b"amount=2", spec=("amount",), kind=FORM))
    assert same(take(b"\xff", spec=("amount",)), take(b"\xff", spec=("amount",)))
    assert not same(take(b"\xff", spec=("amount",)), take(b"\xfe", spec=("amount",)))


class Order(pydantic.BaseModel):
    amount: decimal.Decimal
    note: str = ""


def test_a_path_begins_at_a_parameter_if_there_is_one():
    order = Order(amount=decimal.Decimal(10), note="x")
    one = take({"anything": 1}, spec=("order.amount",), bound={"order": order})
    assert same(
        one, take({"other": 1}, spec=("order.amount",), bound={"order": order.model_copy(update={"note": "y"})})
    )
    assert not same(
        one, take({"anything": 1}, spec=("order.amount",), bound={"order": Order(amount=decimal.Decimal(9))})
    )


# Functions


def by_order(bound: Mapping[str, Any]) -> object:
    return [bound["order"].amount]


def test_a_function_of_the_arguments():
    one = take({"at": 1}, spec=by_order, bound={"order": Order(amount=decimal.Decimal(1), note="a")})
    assert algorithms(one) == ["c1-by_order"]
    assert same(one, take({"at": 2}, spec=by_order, bound={"order": Order(amount=decimal.Decimal(1), note="b")}))
    assert not same(one, take({"at": 1}, spec=by_order, bound={"order": Order(amount=decimal.Decimal(2))}))


async def later(bound: Mapping[str, Any]) -> object:
    return 1


@pytest.mark.parametrize(
    "spec", [[], (), ("",), ("a..b",), (1,), "amount", {"amount"}, 7, lambda bound: 1, later, [None, "amount"]]
)
def test_specs_that_cannot_work(spec: Any):
    with pytest.raises(SettingsError, match="fingerprint="):
        read_fingerprint(spec)


# Calls of plain functions, and messages


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    sku: uuid.UUID
    count: int


class Event(msgspec.Struct):
    at: dt.datetime
    price: decimal.Decimal


WHEN = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def arguments(**change: object) -> dict[str, object]:
    return {
        "order": Order(amount=decimal.Decimal("10.5")),
        "lines": [Line(uuid.UUID(int=1), 2)],
        "event": Event(WHEN, decimal.Decimal("1.10")),
        "colour": Colour.RED,
        "prices": {1: decimal.Decimal(2), 3: None},
        "tags": {"a", "b", "c"},
        "data": b"\x00\xff",
        "day": WHEN.date(),
        "within": dt.timedelta(hours=1),
        "nested": {"orders": [Order(amount=decimal.Decimal(1))]},
        **change,
    }


def test_arguments_of_every_kind():
    assert called(**arguments()) == called(**arguments())
    assert algorithms(called(**arguments())) == ["j1"]


@pytest.mark.parametrize(
    "change",
    [
        {"order": Order(amount=decimal.Decimal("10.6"))},
        {"lines": [Line(uuid.UUID(int=2), 2)]},
        {"event": Event(WHEN, decimal.Decimal("1.11"))},
        {"colour": "blue"},
        {"prices": {1: decimal.Decimal(3), 3: None}},
        {"tags": {"a", "b"}},
        {"data": b"\x00\xfe"},
        {"nested": {"orders": [Order(amount=decimal.Decimal(2))]}},
        {"more": 1},
    ],
)
def test_other_arguments(change: dict[str, object]):
    assert not same(called(**arguments()), called(**arguments(**change)))


def test_sets_are_written_alike_in_every_process():
    program = (
        "from zdd_sdk.idempotency.fingerprint import Fingerprints; from zdd_sdk.secrets import Secrets;"
        "print(Fingerprints(None, Secrets(['s' * 32]), 'o').of_call({'tags': {str(n) for n in range(50)}}))"
    )
    found = {
        subprocess.check_output(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        )
        for seed in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    "value", [object(), {"db": object()}, (one for one in ()), Order, {None: 1}, {1, "a"}, lambda: 1]
)
def test_an_argument_that_cannot_be_written_is_named_with_the_remedy(value: object):
    with pytest.raises(SettingsError, match=r"(?s)'upload'.*fingerprint="):
        called(upload=value, amount=1)
    assert called(("amount",), upload=value, amount=1) == called(("amount",), upload=None, amount=1)


def test_a_field_that_no_parameter_has_is_a_mistake_in_a_plain_function():
    with pytest.raises(SettingsError, match=r"'total' begins at no parameter of the function \(amount\)"):
        called(("total",), amount=1)
