"""Sessions described by a struct: defaults, rules, shapes of other releases, and what a struct does not know."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.sessions.visitor import Visitor, make_sessions
from zdd_sdk.errors import RecordUndecodable, SessionConflict, SessionError, SessionValueError
from zdd_sdk.sessions import Add, Append, CompareAndSet, Union, codec
from zdd_sdk.sessions.models import TypedForm, describe
from zdd_sdk.store import finish


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct):
    sku: str
    count: int = 1


class Shop(msgspec.Struct):
    visits: Annotated[int, Add()] = 0
    seen: Annotated[set[str], Union()] = msgspec.field(default_factory=set)
    log: Annotated[list[str], Append(limit=3)] = msgspec.field(default_factory=list)
    state: Annotated[str | None, CompareAndSet()] = None
    cart: dict[str, int] = msgspec.field(default_factory=dict)
    items: list[Item] = msgspec.field(default_factory=list)
    last: Item | None = None
    colour: Colour = Colour.RED
    since: dt.datetime | None = None
    price: Decimal = Decimal(0)
    owner: UUID | None = None
    basket: str = msgspec.field(default="", name="kosár")
    secret: bytes = msgspec.field(default=b"")

    @property
    def total(self) -> int:
        return sum(self.cart.values())

    def put(self, sku: str) -> None:
        self.cart[sku] = self.cart.get(sku, 0) + 1


class Node(msgspec.Struct):
    inner: Any = None


class Loop(msgspec.Struct):
    node: Node | None = None


class Required(msgspec.Struct):
    name: str


@pytest.fixture
def visitor():
    return Visitor(make_sessions(stock=True), None)


def visit(visitor, use, model=Shop):
    """One request: load, type, use, leave."""

    async def handler(session):
        return use(session.typed(model), session)

    reply = finish(visitor.visit(handler))
    if reply.error is not None:
        raise reply.error
    return reply


def seen(visitor, read, model=Shop):
    return visit(visitor, lambda typed, _: read(typed), model).result


def test_defaults_until_something_is_there(visitor):
    def use(shop, session):
        assert (shop.visits, shop.seen, shop.cart, shop.state, shop.colour) == (0, set(), {}, None, Colour.RED)
        assert len(session) == 0

    assert visit(visitor, use).cookie is None


def test_attributes_are_the_sessions(visitor):
    def write(shop, session):
        shop.visits += 1
        shop.last = Item("tea", 2)
        shop.items = [Item("tea"), Item("cup", 3)]
        shop.colour = Colour.BLUE
        shop.since = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
        shop.price = Decimal("1.10")
        shop.owner = UUID(int=5)
        shop.basket = "b"
        assert session["visits"] == 1

    def read(shop, session):
        assert (shop.visits, shop.last, shop.items) == (1, Item("tea", 2), [Item("tea"), Item("cup", 3)])
        assert (shop.colour, shop.since) == (Colour.BLUE, dt.datetime(2026, 11, 20, tzinfo=dt.UTC))
        assert (shop.price, shop.owner, shop.basket) == (Decimal("1.10"), UUID(int=5), "b")
        assert session["last"] is shop.last
        assert "kosár" in session

    visit(visitor, write)
    visit(visitor, read)


def test_an_untyped_reader_sees_plain_values(visitor):
    def write(shop, _):
        shop.last, shop.colour, shop.seen = Item("tea", 2), Colour.BLUE, {"a"}

    async def read(session):
        return dict(session)

    visit(visitor, write)
    assert finish(visitor.visit(read)).result == {
        "last": {"sku": "tea", "count": 2},
        "colour": "blue",
        "seen": {"a"},
    }


def test_changes_inside_defaults_and_values_are_noticed(visitor):
    visit(visitor, lambda shop, _: shop.cart.update(tea=1))
    visit(visitor, lambda shop, _: shop.items.append(Item("tea")))

    def change(shop, _):
        shop.cart["tea"] += 1
        shop.items[0].count = 9

    visit(visitor, change)
    assert seen(visitor, lambda shop: (shop.cart, shop.items[0].count)) == ({"tea": 2}, 9)


def test_methods_and_properties_work_on_the_session(visitor):
    visit(visitor, lambda shop, _: shop.put("tea"))

    def use(shop, _):
        shop.put("tea")
        assert shop.total == 2

    visit(visitor, use)


def test_what_is_not_declared(visitor):
    def use(shop, _):
        with pytest.raises(AttributeError):
            shop.other  # noqa: B018
        with pytest.raises(AttributeError, match="declares no 'other'"):
            shop.other = 1
        with pytest.raises(AttributeError):
            del shop.visits
        assert "visits" in dir(shop)
        assert repr(shop) == "<Shop of <Session: 0 attributes>>"

    visit(visitor, use)


def test_a_required_attribute_is_missing_until_it_is_there(visitor):
    def use(typed, _):
        assert not hasattr(typed, "name")
        with pytest.raises(AttributeError, match="Required.name is not in the session"):
            typed.name  # noqa: B018
        typed.name = "ada"
        assert typed.name == "ada"
        del typed.name
        assert not hasattr(typed, "name")

    visit(visitor, use, Required)


@pytest.mark.parametrize(
    ("name", "value"),
    [("visits", "1"), ("seen", [1, object()]), ("last", Item(5)), ("items", [{}]), ("colour", "green"), ("cart", 1)],
)
def test_values_of_other_types_are_refused(visitor, name, value):
    with pytest.raises(SessionValueError, match=rf"Shop\.{name} is declared|cannot be stored"):
        visit(visitor, lambda shop, _: setattr(shop, name, value))


def test_what_contains_itself_is_refused():
    node = Node()
    node.inner = [node]
    with pytest.raises(SessionValueError):
        TypedForm(describe(Loop)["node"]).encode(node)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[str, Add()], "Add needs int or float or Decimal"),
        (Annotated[list[int], Union()], "Union needs set or frozenset"),
        (Annotated[set[int], Append()], "Append needs list"),
        (complex, "cannot be described"),
    ],
)
def test_structs_that_cannot_describe(visitor, annotation, message):
    model = msgspec.defstruct("Wrong", [("a", annotation, msgspec.field(default=None))])
    with pytest.raises(TypeError, match=message):
        visit(visitor, lambda *_: None, model)


@pytest.mark.parametrize("model", [dict, int, "Shop"])
def test_what_is_no_struct(visitor, model):
    with pytest.raises(TypeError, match="msgspec.Struct"):
        visit(visitor, lambda *_: None, model)


def test_it_needs_a_loaded_session(visitor):
    with pytest.raises(SessionError, match="not loaded"):
        visitor.sessions.open(visitor.exchange()).typed(Shop)


def test_a_value_in_hand_before_is_told_rather_than_lost(visitor):
    visit(visitor, lambda shop, _: shop.cart.update(tea=1))

    async def late(session):
        session["cart"]["tea"] = 5
        session.typed(Shop)

    assert isinstance(finish(visitor.visit(late)).error, SessionValueError)


def test_the_same_struct_twice_is_the_same_session(visitor):
    def use(shop, session):
        shop.cart["tea"] = 1
        assert session.typed(Shop).cart is shop.cart

    visit(visitor, use)


# rules


def overtaken(visitor, mine, theirs):
    exchange = visitor.exchange()
    session = finish(visitor.sessions.load(exchange))
    mine(session.typed(Shop))
    visit(visitor, lambda shop, _: theirs(shop))
    return finish(visitor.depart(exchange))


def both(shop):
    shop.visits += 1
    shop.log.append(str(shop.visits))


def test_declared_rules_merge_plain_python(visitor):
    def first(shop, _):
        shop.visits, shop.seen, shop.log = 10, {"a", "old"}, ["1"]

    def mine(shop):
        shop.visits += 1
        shop.seen.add("mine")
        shop.seen.discard("old")
        shop.log.append("mine")

    def theirs(shop):
        shop.visits = shop.visits + 5
        shop.seen = {*shop.seen, "theirs"}
        shop.log = [*shop.log, "theirs"]

    visit(visitor, first)
    assert overtaken(visitor, mine, theirs).status == 200

    def read(shop, _):
        assert (shop.visits, shop.seen, shop.log) == (16, {"a", "mine", "theirs"}, ["1", "theirs", "mine"])

    visit(visitor, read)


def test_rules_begin_at_the_default(visitor):
    class Counting(msgspec.Struct):
        visits: Annotated[int, Add()] = 100

    def count(typed, session):
        typed.visits += 1
        session.add("visits", 1)

    visit(visitor, count, Counting)
    assert seen(visitor, lambda typed: typed.visits, Counting) == 102


def test_a_declared_swap_is_refused_when_overtaken(visitor):
    visit(visitor, lambda shop, _: setattr(shop, "state", "open"))
    reply = overtaken(
        visitor, lambda shop: setattr(shop, "state", "mine"), lambda shop: setattr(shop, "state", "theirs")
    )
    assert reply.status == 409
    assert seen(visitor, lambda shop: shop.state) == "theirs"


def test_control_without_a_rule_the_last_write_wins(visitor):
    class Plain(msgspec.Struct):
        visits: int = 0

    visit(visitor, lambda typed, _: setattr(typed, "visits", 10), Plain)
    exchange = visitor.exchange()
    session = finish(visitor.sessions.load(exchange))
    session.typed(Plain).visits += 1
    visit(visitor, lambda typed, _: setattr(typed, "visits", typed.visits + 5), Plain)
    finish(visitor.depart(exchange))
    assert seen(visitor, lambda typed: typed.visits, Plain) == 11


def test_a_swap_by_hand_still_checks(visitor):
    def use(shop, session):
        shop.state = "open"
        with pytest.raises(SessionConflict):
            session.compare_and_set("state", "closed", "mine")

    visit(visitor, use)


# two releases


class ItemLater(msgspec.Struct):
    sku: str
    count: int = 1
    note: str = ""


class ShopLater(msgspec.Struct):
    visits: Annotated[int, Add()] = 0
    last: ItemLater | None = None
    items: list[ItemLater] = msgspec.field(default_factory=list)
    cart: dict[str, float] = msgspec.field(default_factory=dict)
    state: list[str] = msgspec.field(default_factory=list)
    wishes: list[str] = msgspec.field(default_factory=list)


def later(typed, _):
    typed.last = ItemLater("tea", 1, "gift")
    typed.items = [ItemLater("cup", 2, "blue"), ItemLater("tea")]
    typed.state = ["a", "b"]
    typed.wishes = ["pot"]


def test_what_an_older_struct_does_not_know_is_kept_inside_values(visitor):
    visit(visitor, later, ShopLater)

    def older(shop, _):
        shop.last.count = 5
        shop.items.reverse()
        shop.items[0].count = 7

    visit(visitor, older)

    def back(typed, _):
        assert typed.last == ItemLater("tea", 5, "gift")
        assert typed.items == [ItemLater("tea", 7, ""), ItemLater("cup", 2, "blue")]
        assert typed.wishes == ["pot"]

    visit(visitor, back, ShopLater)


def test_control_a_round_trip_through_the_struct_alone_drops_it():
    raw = {"sku": "tea", "count": 1, "note": "gift"}
    assert "note" not in msgspec.to_builtins(msgspec.convert(raw, Item))


def test_another_shape_raises_for_that_attribute_alone_and_is_kept(visitor):
    visit(visitor, later, ShopLater)

    def older(shop, session):
        with pytest.raises(
            RecordUndecodable, match=r"session\['state'\].*written in shape [0-9a-f]{8}, Shop.state has"
        ):
            shop.state  # noqa: B018
        shop.visits += 1
        assert session["wishes"] == ["pot"]

    visit(visitor, older)
    assert visitor.sessions.counters["undecodable"] == {"1": 1}

    def back(typed, _):
        assert (typed.state, typed.visits) == (["a", "b"], 1)

    visit(visitor, back, ShopLater)


def test_another_shape_that_fits_is_read(visitor):
    visit(visitor, lambda shop, _: shop.cart.update(tea=1))
    assert seen(visitor, lambda typed: typed.cart, ShopLater) == {"tea": 1.0}


def test_the_identity_tells_shapes_apart():
    now, then = describe(Shop), describe(ShopLater)
    assert now["visits"].identity == then["visits"].identity
    assert now["cart"].identity != then["cart"].identity
    assert now["last"].identity != then["last"].identity


def test_golden_a_typed_field_of_then_is_read_today_and_by_readers_without_models():
    data = bytes.fromhex("010001048b3ea2ae82a3736b75a3746561a5636f756e7402")
    assert TypedForm(describe(Shop)["last"]).decode(data) == Item("tea", 2)
    assert codec.decode(data) == {"sku": "tea", "count": 2}
    assert codec.schema_of(data).hex() == "8b3ea2ae"
    assert codec.schema_of(codec.encode(1)) == b""


texts = st.text(max_size=5)
items = st.builds(Item, texts, st.integers(-9, 9))
CASES = {
    "visits": st.integers(-(2**70), 2**70),
    "seen": st.sets(texts),
    "cart": st.dictionaries(texts, st.integers()),
    "items": st.lists(items, max_size=3),
    "last": st.none() | items,
    "colour": st.sampled_from(Colour),
    "since": st.none() | st.datetimes(),
    "price": st.decimals(allow_nan=False, allow_infinity=False),
    "secret": st.binary(max_size=9),
}


@given(st.data(), st.sampled_from(sorted(CASES)))
def test_values_come_back_equal_and_of_their_type(data, name):
    value, form = data.draw(CASES[name]), TypedForm(describe(Shop)[name])
    again = form.decode(form.encode(value))
    assert again == value
    assert type(again) is type(value)


@given(st.dictionaries(texts, st.none() | st.booleans() | st.lists(texts), max_size=3))
def test_unknown_entries_are_never_lost(extra):
    form = TypedForm(describe(Shop)["last"])
    raw = {**{f"x{key}": item for key, item in extra.items()}, "sku": "tea", "count": 1}
    value = form.decode(codec.encode(raw))
    value.count = 2
    assert codec.decode(form.encode(value)) == {**raw, "count": 2}
