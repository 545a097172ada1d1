"""A catalogue, a login, a cart in the session, orders in SQLite: plain Django."""

from __future__ import annotations

from typing import Annotated

import msgspec
from django.contrib.auth import aauthenticate, alogin, alogout
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from shop import fields
from shop.catalogue import CATALOGUE, pay
from shop_django.models import Order
from shop_django.refusals import Refused, read
from zdd_django import zdd


class LoginForm(msgspec.Struct):
    """Who logs in, and two preferences: release 1 asks for a greeting, release 2 for a currency."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    greeting: str = "Hello"
    currency: str = "EUR"


class CartItem(msgspec.Struct):
    """How many of a product shall be in the cart; setting it twice changes nothing."""

    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=0, le=99)]


class OrderForm(msgspec.Struct):
    """What to buy. The client picks the reference: one reference, one order."""

    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    items: dict[str, int]


@require_GET
async def greet(_: HttpRequest) -> JsonResponse:
    """Say which release answers."""
    return JsonResponse({"shop": "open", "release": fields.RELEASE})


@require_GET
async def list_products(_: HttpRequest) -> JsonResponse:
    """Show the catalogue; nobody's session is needed for that."""
    return JsonResponse(CATALOGUE)


@require_POST
async def log_in(request: HttpRequest) -> JsonResponse:
    """Open a session; the cart filled as a stranger stays."""
    form = read(request, LoginForm)
    customer = await aauthenticate(request, name=form.user)
    await alogin(request, customer)
    fields.remember_preference(request.session, form.greeting, form.currency)
    return JsonResponse(fields.show(request.session, form.user))


@require_POST
async def log_out(request: HttpRequest) -> JsonResponse:
    """End the session."""
    await alogout(request)
    return JsonResponse({"logged_out": True})


@require_GET
async def show_me(request: HttpRequest) -> JsonResponse:
    """Show what the shop knows about this visitor, and count the visit."""
    user = await request.auser()
    fields.count_visit(request.session)
    return JsonResponse(fields.show(request.session, user.get_username() or None))


@require_POST
async def set_item(request: HttpRequest) -> JsonResponse:
    """Put a product into the cart, or take it out with quantity 0."""
    item = read(request, CartItem)
    if item.sku not in CATALOGUE:
        raise Refused(404, f"no product {item.sku}")
    cart = await request.session.asetdefault("cart", {})
    cart[item.sku] = item.quantity
    return JsonResponse(cart)


@require_GET
async def show_cart(request: HttpRequest) -> JsonResponse:
    """Show the cart."""
    return JsonResponse(await request.session.aget("cart", {}))


def signed_in(request: HttpRequest) -> str:
    """Return the user of this session; 401 for a stranger."""
    if not request.user.is_authenticated:
        raise Refused(401, "log in first")
    return request.user.get_username()


@require_http_methods(["GET", "POST"])
def orders(request: HttpRequest) -> HttpResponse:
    """Show this customer's orders, or take one; a function, because paying and SQLite block."""
    customer = signed_in(request)
    if request.method == "POST":
        return create_order(request)
    found = Order.objects.filter(customer=customer)[:20]
    return JsonResponse([order.shown() for order in found], safe=False)


@zdd.idempotent(operation="orders.create", effects="db", principal="request.user.name")
def create_order(request: HttpRequest) -> HttpResponse:
    """Take the money, write the order, empty the cart; once, however often it is sent with one key."""
    form = read(request, OrderForm)
    order = Order.objects.create(reference=form.reference, customer=signed_in(request), total=pay(form.items))
    request.session["cart"] = {}
    return JsonResponse(order.shown(), status=201)


@require_GET
def audit(_: HttpRequest) -> JsonResponse:
    """Count the orders, and those that share a reference with another: money taken twice."""
    counted = Order.objects.aggregate(orders=Count("pk"), references=Count("reference", distinct=True))
    return JsonResponse({"orders": counted["orders"], "duplicates": counted["orders"] - counted["references"]})
