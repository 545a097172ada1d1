"""What customers of the shop do while it is deployed, and what must hold for them.

``zdd rehearse`` plays `shopper` over and over for each virtual user; one call is one visit. A user keeps its
cookies, its connection and ``user.state`` from visit to visit, as a browser does.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from zdd_sdk.rehearsal import Target, User

PRODUCTS = ("tea", "mug", "kettle", "honey", "tray")
CURRENCIES = ("EUR", "KRW", "USD")
CREATED = 201
LOGOUTS = 0.05
"""Share of visits that end with a logout."""


def prepare(directory: Path) -> dict[str, str]:
    """Give every instance of this rehearsal the same new database."""
    return {"SHOP_DB": str(directory / "shop.db")}


async def shopper(user: User) -> None:
    """Pay one visit: look around, fill the cart, order, and now and then log out."""
    if "known" not in user.state:
        await _log_in(user)
    await user.get("/products")
    await _put_into_cart(user)
    await _check_cart(user)
    await _check_me(user)
    await _place_order(user)
    if user.random.random() < LOGOUTS:
        await _log_out(user)


async def audit(target: Target) -> dict[str, int]:
    """Ask the shop, after the rehearsal, how many orders were placed twice."""
    return dict((await target.get("/audit")).json())


async def _log_in(user: User) -> None:
    """Log in and remember what the shop has answered."""
    form = {"user": f"shopper-{user.id}", "greeting": f"Hello {user.id}", "currency": user.random.choice(CURRENCIES)}
    user.state["known"] = (await user.post("/login", json=form)).json()
    user.state["cart"] = {}


async def _put_into_cart(user: User) -> None:
    """Set the quantity of one product; after a failure nobody can say what the cart holds."""
    cart, sku, quantity = user.state.pop("cart", None), user.random.choice(PRODUCTS), user.random.randint(1, 9)
    await user.post("/cart/items", json={"sku": sku, "quantity": quantity})
    if cart is not None:
        user.state["cart"] = {**cart, sku: quantity}


async def _check_cart(user: User) -> None:
    """The cart holds what was put into it, whichever release and instance answers."""
    found = (await user.get("/cart")).json()
    expected = user.state.get("cart", found)
    user.state["cart"] = found
    with user.invariant("field"):
        assert found == expected, f"the cart is {found}, expected {expected}"


async def _check_me(user: User) -> None:
    """The user is still logged in, and what the login kept is still there."""
    known, me = user.state["known"], (await user.get("/me")).json()
    _expect_login(user, me["user"])
    with user.invariant("field"):
        assert me["visits"] > known["visits"], f"visits went from {known['visits']} to {me['visits']}"
        for name in ("greeting", "currency"):
            assert me.get(name, known.get(name)) == known.get(name, me.get(name)), f"{name} became {me.get(name)}"
    known["visits"] = me["visits"]


async def _place_order(user: User) -> None:
    """Order the cart, again and again with one key until it is answered, which must not order twice."""
    order = {"reference": str(uuid.uuid4()), "items": user.state.pop("cart")}
    answer = await user.once("/orders", json=order, expect={401})
    _expect_login(user, user.state["known"]["user"] if answer.status == CREATED else None)
    user.state["cart"] = {}


def _expect_login(user: User, found: str | None) -> None:
    """Check who the shop thinks this is; a stranger logs in again at the next visit."""
    expected = user.state["known"]["user"]
    if found != expected:
        user.reset()
    with user.invariant("login"):
        assert found == expected, f"{expected} is logged in as {found or 'nobody'}"


async def _log_out(user: User) -> None:
    """Log out, and stay so; whatever becomes of the requests, the next visit begins as a stranger's."""
    user.state.clear()
    await user.post("/logout")
    me = (await user.get("/me")).json()
    user.reset()
    with user.invariant("login"):
        assert me["user"] is None, f"{me['user']} is logged in after the logout"
