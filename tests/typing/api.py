"""The public API as a user writes it. Never run: mypy and pyright check it (``make types``)."""

from __future__ import annotations

from typing import Annotated, Any, assert_type

import msgspec
from fastapi import FastAPI, WebSocket

from zdd_fastapi import LazySession, Typed, UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SessionGone, StoreUnavailable, ZddError
from zdd_sdk.http import Exchange, current_exchange
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.release import Release
from zdd_sdk.sessions import Add, Session, Union
from zdd_sdk.settings import Settings
from zdd_sdk.store import Call, Store, finish

zdd = ZeroDowntime(
    service="shop",
    environment="production",
    redis_url="rediss://redis.internal:6379/0",
    sessions={"idle_timeout": "2h"},
    lifecycle={"drain_lag": 15},
)
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)

assert_type(zdd.settings, Settings)
assert_type(zdd.settings.sessions.idle_timeout, float)
assert_type(zdd.release, Release)
assert_type(zdd.release.version.value, str | None)
assert_type(zdd.lifecycle, Lifecycle)
assert_type(zdd.lifecycle.draining, bool)


@zdd.check
def disk() -> bool:
    return True


@zdd.check(critical=True, name="search")
async def search_index() -> None: ...


@app.post("/login")
async def log_in(user: str, session: UserSession) -> dict[str, Any]:
    assert_type(session, Session)
    session["cart"] = ["tea"]
    assert_type(session["cart"], Any)
    del session["cart"]
    session.login(user)
    session.rotate()
    assert_type(session.user, str | None)
    assert_type(session.available, bool)
    assert_type(session.is_new, bool)
    return dict(session)


@app.post("/logout")
async def log_out(session: LazySession) -> None:
    await session.load()
    session.logout()


@app.websocket("/updates")
async def send_updates(socket: WebSocket, session: UserSession) -> None:
    await socket.accept()
    session["seen"] = 1
    await session.save()


def find_exchange() -> str | None:
    exchange = current_exchange()
    assert_type(exchange, Exchange | None)
    if exchange is None:
        return None
    hold = exchange.hold()
    exchange.after_commit(hold.release)
    return exchange.header("user-agent")


async def count_visits(store: Store, key: str) -> int:
    count = Call(int, ("INCR", key), keys=(key,))
    name = Call(bytes.decode, ("GET", "name"), keys=("name",), again=True)
    number, text = await store.ask(count, name)
    assert_type(number, int)
    assert_type(text, str)
    return number


def count_visits_blocking(store: Store) -> int:
    try:
        return assert_type(finish(count_visits(store, "visits")), int)
    except StoreUnavailable as error:
        assert_type(error.retry_after, float)
        raise
    except SessionGone as error:
        return assert_type(error.status, int)
    except ZddError as error:
        print(error.code, error.docs)
        return 0


class ShopSession(msgspec.Struct):
    visits: Annotated[int, Add()] = 0
    seen: Annotated[set[str], Union()] = msgspec.field(default_factory=set)
    cart: dict[str, int] = msgspec.field(default_factory=dict)


@app.post("/cart")
async def add_to_cart(shop: Typed[ShopSession], sku: str) -> int:
    assert_type(shop, ShopSession)
    assert_type(shop.cart, dict[str, int])
    shop.visits += 1
    shop.seen.add(sku)
    shop.visits = "many"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    shop.wishes  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    return shop.cart[sku]


def by_hand(session: Session) -> None:
    assert_type(session.typed(ShopSession), ShopSession)
    session.add("visits", 1)
    session.union("seen", {"tea"})
    session.append("log", "tea", limit=100)
    session.compare_and_set("state", None, "open")
