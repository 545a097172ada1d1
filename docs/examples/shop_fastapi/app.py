"""The shop: a catalogue, a login, a cart in the session, orders in SQLite.

All of zdd-sdk in here is the lines that say `zdd`; the rest is plain FastAPI. Run it with
``zdd serve uvicorn shop_fastapi.app:app --app-dir docs/examples``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, WebSocket
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

import zdd_sqlalchemy
from shop import fields
from shop import ledger as orders
from shop.catalogue import CATALOGUE, pay
from shop.ledger import Audit, Ledger
from zdd_fastapi import UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime(service="shop")  # ZDD_REDIS_URL, or in development an embedded engine
app = FastAPI(title="Shop")
app.add_middleware(ZddMiddleware, zdd=zdd)
zdd_sqlalchemy.guard(zdd)
ledger = Ledger.from_environment()


class LoginForm(BaseModel):
    """Who logs in, and two preferences: release 1 asks for a greeting, release 2 for a currency."""

    user: str = Field(min_length=1, max_length=64)
    greeting: str = "Hello"
    currency: str = "EUR"


class CartItem(BaseModel):
    """How many of a product shall be in the cart; setting it twice changes nothing."""

    sku: str
    quantity: int = Field(ge=0, le=99)


class OrderForm(BaseModel):
    """What to buy. The client picks the reference: one reference, one order."""

    reference: str = Field(min_length=1, max_length=64)
    items: dict[str, int]


def signed_in(session: UserSession) -> str:
    """Return the user of this session; 401 for a stranger."""
    if session.user is None:
        raise HTTPException(401, "log in first")
    return session.user


Customer = Annotated[str, Depends(signed_in)]
Database = Annotated[Session, Depends(ledger.session, scope="function")]


@app.get("/")
async def greet() -> dict[str, str]:
    """Say which release answers."""
    return {"shop": "open", "release": fields.RELEASE}


@app.get("/products")
async def list_products() -> dict[str, int]:
    """Show the catalogue; nobody's session is needed for that."""
    return CATALOGUE


@app.post("/login")
async def log_in(form: LoginForm, session: UserSession) -> fields.Fields:
    """Open a session; the cart filled as a stranger stays."""
    session.login(form.user)
    fields.remember_preference(session, form.greeting, form.currency)
    return fields.show(session, session.user)


@app.post("/logout")
async def log_out(session: UserSession) -> dict[str, bool]:
    """End the session."""
    session.logout()
    return {"logged_out": True}


@app.get("/me")
async def show_me(session: UserSession) -> fields.Fields:
    """Show what the shop knows about this visitor, and count the visit."""
    fields.count_visit(session)
    return fields.show(session, session.user)


@app.post("/cart/items")
async def set_item(item: CartItem, session: UserSession) -> dict[str, int]:
    """Put a product into the cart, or take it out with quantity 0."""
    if item.sku not in CATALOGUE:
        raise HTTPException(404, f"no product {item.sku}")
    cart: dict[str, int] = session.setdefault("cart", {})
    cart[item.sku] = item.quantity
    return cart


@app.get("/cart")
async def show_cart(session: UserSession) -> dict[str, int]:
    """Show the cart."""
    cart: dict[str, int] = session.get("cart", {})
    return cart


@app.post("/orders", status_code=201)
@zdd.idempotent(operation="orders.create", effects="db", principal="customer")
def create_order(form: OrderForm, customer: Customer, session: UserSession, database: Database) -> dict[str, Any]:
    """Take the money, write the order, empty the cart; once, however often it is sent with one key."""
    order = orders.add(database, form.reference, customer, pay(form.items))
    session["cart"] = {}
    return asdict(order)


@app.get("/orders")
def list_orders(customer: Customer, database: Database) -> list[dict[str, Any]]:
    """Show this customer's orders."""
    return orders.orders_of(database, customer)


@app.get("/audit")
def audit(database: Database) -> Audit:
    """Count the orders, and those that share a reference with another: money taken twice."""
    return orders.audit(database)


@app.websocket("/ws/updates")
async def send_updates(socket: WebSocket, session: UserSession) -> None:
    """Answer every message with the state of the visitor's cart."""
    await socket.accept()
    async for _ in socket.iter_text():
        await socket.send_json({"user": session.user, "cart": session.get("cart", {}), "release": fields.RELEASE})
