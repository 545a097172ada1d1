"""The shop: a catalogue, a login, a cart in the session, orders in SQLite.

All of zdd-sdk in here is the lines that say `zdd` or `current_session`; the rest is plain Flask. Run it with
``zdd serve gunicorn --chdir docs/examples --worker-class gthread --threads 8 shop_flask.app:app``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import msgspec
from flask import Flask, abort, jsonify, request, session
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session, scoped_session
from werkzeug.exceptions import HTTPException

import zdd_sqlalchemy
from shop import fields
from shop import ledger as orders
from shop.catalogue import CATALOGUE, pay
from shop.ledger import Ledger
from zdd_flask import Zdd, current_session
from zdd_sdk import ZeroDowntime

app = Flask(__name__)
Zdd(app, service="shop")  # ZDD_REDIS_URL, or in development an embedded engine
zdd: ZeroDowntime = app.extensions["zdd"]
ledger = Ledger.from_environment()
database: scoped_session[Session] = scoped_session(ledger.sessions)
zdd_sqlalchemy.guard(zdd, database)

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class LoginForm(msgspec.Struct):
    """Who logs in, and two preferences: release 1 asks for a greeting, release 2 for a currency."""

    user: Name
    greeting: str = "Hello"
    currency: str = "EUR"


class CartItem(msgspec.Struct):
    """How many of a product shall be in the cart; setting it twice changes nothing."""

    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=0, le=99)]


class OrderForm(msgspec.Struct):
    """What to buy. The client picks the reference: one reference, one order."""

    reference: Name
    items: dict[str, int]


def read(form: type[T]) -> T:
    """Return the body of this request; 422 if it is not what it should be."""
    try:
        return msgspec.json.decode(request.get_data(), type=form)
    except msgspec.MsgspecError as error:
        abort(422, str(error))


def signed_in() -> str:
    """Return the user of this session; 401 for a stranger."""
    return current_session().user or abort(401, "log in first")


@app.errorhandler(HTTPException)
def explain(error: HTTPException) -> ResponseReturnValue:
    """Answer errors as JSON."""
    return {"detail": error.description}, error.code or 500


@app.get("/")
def greet() -> dict[str, str]:
    """Say which release answers."""
    return {"shop": "open", "release": fields.RELEASE}


@app.get("/products")
def list_products() -> dict[str, int]:
    """Show the catalogue; nobody's session is needed for that."""
    return CATALOGUE


@app.post("/login")
def log_in() -> fields.Fields:
    """Open a session; the cart filled as a stranger stays."""
    form = read(LoginForm)
    current_session().login(form.user)
    fields.remember_preference(session, form.greeting, form.currency)
    return fields.show(session, form.user)


@app.post("/logout")
def log_out() -> dict[str, bool]:
    """End the session."""
    session.clear()
    return {"logged_out": True}


@app.get("/me")
def show_me() -> fields.Fields:
    """Show what the shop knows about this visitor, and count the visit."""
    fields.count_visit(session)
    return fields.show(session, current_session().user)


@app.post("/cart/items")
def set_item() -> dict[str, int]:
    """Put a product into the cart, or take it out with quantity 0."""
    item = read(CartItem)
    if item.sku not in CATALOGUE:
        abort(404, f"no product {item.sku}")
    cart: dict[str, int] = session.setdefault("cart", {})
    cart[item.sku] = item.quantity
    return cart


@app.get("/cart")
def show_cart() -> dict[str, int]:
    """Show the cart."""
    cart: dict[str, int] = session.get("cart", {})
    return cart


@app.teardown_appcontext
def close(_: BaseException | None) -> None:
    """Give the connection back."""
    database.remove()


@app.post("/orders")
@zdd.idempotent(operation="orders.create", effects="db", principal=lambda _: signed_in())
def create_order() -> ResponseReturnValue:
    """Take the money, write the order, empty the cart; once, however often it is sent with one key."""
    customer, form = signed_in(), read(OrderForm)
    order = orders.add(database(), form.reference, customer, pay(form.items))
    session["cart"] = {}
    return jsonify(asdict(order)), 201


@app.get("/orders")
def list_orders() -> list[dict[str, Any]]:
    """Show this customer's orders."""
    return orders.orders_of(database(), signed_in())


@app.get("/audit")
def audit() -> dict[str, Any]:
    """Count the orders, and those that share a reference with another: money taken twice."""
    return asdict(orders.audit(database()))
