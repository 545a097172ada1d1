"""``@zdd.idempotent`` in FastAPI: one key, one effect, one answer; in every shape an endpoint has."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient

from zdd_fastapi import UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency import current
from zdd_sdk.idempotency.scope import Scope
from zdd_sdk.store.engine import Engine
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.tap import RespTap

SECRET = "s" * 40


class Order(BaseModel):
    sku: str
    count: int = 1


class Shop:
    """An application, its client, and what it has done."""

    def __init__(self, url: str, **options: Any) -> None:
        self.zdd = ZeroDowntime(
            "shop", environment="test", redis_url=url, secret=(SECRET,), store={"operation_timeout": "5s"}, **options
        )
        self.app = FastAPI()
        self.app.add_middleware(ZddMiddleware, zdd=self.zdd)
        self.done: list[str] = []

    def endpoint(self, path: str, **said: Any) -> Any:
        said = {"operation": path, "effects": "external", "principal": "anonymous", **said}
        return lambda function: self.app.post(path)(self.zdd.idempotent(**said)(function))

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        with TestClient(self.app, raise_server_exceptions=False) as client:
            yield client


@pytest.fixture
def shop(engine: Engine) -> Shop:
    return Shop(engine.url)


def key(text: str = "k-1") -> dict[str, str]:
    return {"Idempotency-Key": text}


def test_the_second_request_gets_the_first_ones_answer(shop: Shop) -> None:
    @shop.endpoint("/orders")
    async def create(order: Order) -> JSONResponse:
        shop.done.append(order.sku)
        return JSONResponse({"id": len(shop.done)}, 201, {"Location": f"/orders/{len(shop.done)}", "X-Trace": "t"})

    with shop.client() as client:
        first = client.post("/orders", json={"sku": "tea"}, headers=key())
        again = client.post(
            "/orders", content=b'{ "sku" : "tea" }', headers={**key('"k-1"'), "content-type": "application/json"}
        )
        other = client.post("/orders", json={"sku": "tea"}, headers=key("k-2"))
    assert (first.status_code, first.json(), again.status_code, again.content) == (201, {"id": 1}, 201, first.content)
    assert (again.headers["location"], again.headers["idempotent-replayed"]) == ("/orders/1", "true")
    assert "x-trace" not in again.headers
    assert "idempotent-replayed" not in first.headers
    assert (other.json(), shop.done) == ({"id": 2}, ["tea", "tea"])
    assert first.headers["idempotency-key-lifetime"] == "PT86400S"


def test_control_an_endpoint_without_its_bracket_does_it_twice(shop: Shop) -> None:
    @shop.app.post("/orders")
    async def create(order: Order) -> dict[str, int]:
        shop.done.append(order.sku)
        return {"id": len(shop.done)}

    with shop.client() as client:
        for _ in range(2):
            client.post("/orders", json={"sku": "tea"}, headers=key())
    assert shop.done == ["tea", "tea"]


def test_another_body_path_or_query_with_the_same_key_is_refused(shop: Shop) -> None:
    @shop.endpoint("/orders/{number}")
    async def pay(number: int, order: Order, tip: int = 0) -> dict[str, int]:
        return {"paid": number + tip}

    with shop.client() as client:
        assert client.post("/orders/1", json={"sku": "tea"}, headers=key()).json() == {"paid": 1}
        for path, body in (("/orders/1", "mug"), ("/orders/2", "tea"), ("/orders/1?tip=1", "tea")):
            refused = client.post(path, json={"sku": body}, headers=key())
            assert refused.status_code == 422
            assert refused.json()["type"] == "urn:zdd:idempotency-key-reused"
            assert refused.json()["title"] == "Idempotency-Key is already used"
            assert refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "idempotency-key-missing"),
        ([""], "idempotency-key-invalid"),
        (["a", "b"], "idempotency-key-invalid"),
        (["x" * 256], "idempotency-key-invalid"),
    ],
)
def test_no_key_and_what_is_no_key(shop: Shop, values: list[str], code: str) -> None:
    @shop.endpoint("/orders")
    async def create(order: Order) -> None:
        shop.done.append(order.sku)

    with shop.client() as client:
        answer = client.post("/orders", json={"sku": "tea"}, headers=[("Idempotency-Key", value) for value in values])
    assert (answer.status_code, answer.json()["type"]) == (400, f"urn:zdd:{code}")
    assert shop.done == []


def test_a_key_that_is_not_required(shop: Shop) -> None:
    @shop.endpoint("/orders", required=False)
    async def create(order: Order) -> None:
        shop.done.append(order.sku)

    with shop.client() as client:
        assert {client.post("/orders", json={"sku": "tea"}).status_code for _ in range(2)} == {200}
        assert {client.post("/orders", json={"sku": "mug"}, headers=key()).status_code for _ in range(2)} == {200}
    assert shop.done == ["tea", "tea", "mug"]


def test_what_came_before_the_endpoint_is_never_kept(shop: Shop) -> None:
    allowed: list[bool] = []

    def guard() -> None:
        if not allowed:
            raise HTTPException(401, "who are you?")

    @shop.endpoint("/orders")
    async def create(order: Order, _: Annotated[None, Depends(guard)]) -> dict[str, str]:
        return {"sku": order.sku}

    with shop.client() as client:
        assert client.post("/orders", json={"sku": "tea"}, headers=key()).status_code == 401
        allowed.append(True)
        assert client.post("/orders", json={"nothing": "fits"}, headers=key()).status_code == 422
        assert client.post("/orders", json={"sku": "tea"}, headers=key()).json() == {"sku": "tea"}
        allowed.clear()
        replay = client.post("/orders", json={"sku": "tea"}, headers=key())
    assert replay.status_code == 401, "a replay is for those only who may ask"


@pytest.mark.parametrize(
    ("status", "kept"), [(404, True), (409, True), (204, True), (303, True), (429, False), (503, False)]
)
def test_which_answers_of_the_endpoint_are_kept(shop: Shop, status: int, *, kept: bool) -> None:
    @shop.endpoint("/orders")
    async def create() -> None:
        shop.done.append("once")
        raise HTTPException(status, None)

    with shop.client() as client:
        answers = [client.post("/orders", headers=key(), follow_redirects=False) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert len(shop.done) == (1 if kept else 2)
    assert answers[0].content == answers[1].content
    assert answers[0].headers.get("idempotency-stored") == (None if kept else "false")


@pytest.mark.parametrize(("effects", "second"), [("external", 200), ("pure", 200), ("unsafe", 409)])
def test_an_endpoint_that_fails(shop: Shop, effects: str, second: int) -> None:
    @shop.endpoint("/orders", effects=effects)
    async def create() -> None:
        shop.done.append("begun")
        if len(shop.done) == 1:
            raise RuntimeError("boom")

    with shop.client() as client:
        assert client.post("/orders", headers=key()).status_code == 500
        again = client.post("/orders", headers=key())
    assert again.status_code == second
    if effects == "unsafe":
        assert again.json()["type"] == "urn:zdd:idempotency-outcome-unknown"
        assert shop.done == ["begun"], "never a silent second run"


def test_keys_belong_to_their_principal(shop: Shop) -> None:
    class User(BaseModel):
        id: str

    def who(request: Request) -> User:
        return User(id=request.headers["x-user"])

    @shop.endpoint("/orders", principal="user.id")
    async def create(order: Order, user: Annotated[User, Depends(who)]) -> dict[str, str]:
        shop.done.append(user.id)
        return {"of": user.id}

    with shop.client() as client:
        answers = [
            client.post("/orders", json={"sku": sku}, headers={**key(), "x-user": user})
            for user, sku in (("ada", "tea"), ("bob", "mug"), ("ada", "tea"))
        ]
    assert [answer.json() for answer in answers] == [{"of": "ada"}, {"of": "bob"}, {"of": "ada"}]
    assert "idempotent-replayed" not in answers[1].headers
    assert shop.done == ["ada", "bob"]


def test_a_principal_that_is_not_said_or_not_there(shop: Shop) -> None:
    for principal, why in ((None, "say whose keys"), ("user.id", "begins at no parameter")):
        with pytest.raises(SettingsError, match=why):
            shop.zdd.idempotent(operation="x", effects="pure", principal=principal)(lambda order: order)


def test_background_tasks_do_not_delay_the_answer(engine: Engine) -> None:
    shop = Shop(engine.url)
    ended: list[float] = []

    @shop.endpoint("/orders")
    async def create(tasks: BackgroundTasks) -> dict[str, int]:
        async def slowly() -> None:
            await asyncio.sleep(0.3)
            ended.append(time.monotonic())

        tasks.add_task(slowly)
        return {"ok": 1}

    heard: list[float] = []

    async def ask() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/orders", "raw_path": b"/orders", "query_string": b"",
            "root_path": "", "scheme": "http", "http_version": "1.1", "server": ("t", 80), "client": ("t", 1),
            "headers": [(b"idempotency-key", b"k")],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                heard.append(time.monotonic())

        await shop.app(scope, receive, send)

    asyncio.run(ask())
    assert len(heard) == 1
    assert heard[0] < ended[0]


def test_a_late_commit_is_waited_for_and_its_failure_is_not_a_success(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []

    def session() -> Iterator[str]:
        yield "session"
        said.append("commit")
        if len(said) == 1:
            raise RuntimeError("could not serialize access")

    @shop.endpoint("/orders")
    async def create(db: Annotated[str, Depends(session)]) -> dict[str, str]:
        return {"db": db}

    with shop.client() as client:
        first = client.post("/orders", headers=key())
        again = client.post("/orders", headers=key())
    assert (first.status_code, again.status_code) == (500, 200)
    assert said == ["commit", "commit"]
    assert "waits for session" in caplog.text


def test_a_commit_in_function_scope_comes_before_the_answer(shop: Shop) -> None:
    said: list[str] = []

    def session() -> Iterator[str]:
        yield "session"
        said.append("commit")

    @shop.endpoint("/orders")
    async def create(db: Annotated[str, Depends(session, scope="function")]) -> dict[str, str]:
        return {"db": db}

    with shop.client() as client:
        assert client.post("/orders", headers=key()).status_code == 200
    assert said == ["commit"]


def test_the_kept_bytes_are_those_below_all_middleware(shop: Shop) -> None:
    shop.app.add_middleware(GZipMiddleware, minimum_size=1)
    shop.app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])

    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            answer = await call_next(request)
            answer.headers["x-stamp"] = "1"
            return answer

    shop.app.add_middleware(Stamp)

    @shop.endpoint("/orders")
    async def create() -> PlainTextResponse:
        return PlainTextResponse("tea " * 500)

    with shop.client() as client:
        for accepted in ("gzip", "identity", "gzip"):
            answer = client.post(
                "/orders", headers={**key(), "accept-encoding": accepted, "origin": "https://a.example"}
            )
            assert answer.text == "tea " * 500
            assert answer.headers.get("content-encoding") == ("gzip" if accepted == "gzip" else None)
            assert answer.headers["access-control-allow-origin"] == "https://a.example"
            assert answer.headers["x-stamp"] == "1"


def test_cookies_and_session_are_not_replayed(shop: Shop) -> None:
    @shop.endpoint("/login")
    async def login(session: UserSession) -> dict[str, str]:
        session.login("ada")
        return {"user": "ada"}

    with shop.client() as client:
        first = client.post("/login", headers=key())
        with TestClient(shop.app) as stranger:
            again = stranger.post("/login", headers=key())
    assert "set-cookie" in first.headers
    assert (again.json(), "set-cookie" in again.headers) == ({"user": "ada"}, False)


def test_a_stream_passes_through_live_and_is_not_kept(shop: Shop) -> None:
    @shop.endpoint("/orders")
    async def create() -> StreamingResponse:
        shop.done.append("begun")

        async def lines() -> Any:
            for number in range(3):
                yield f"{number}\n"

        return StreamingResponse(lines())

    with shop.client() as client:
        first = client.post("/orders", headers=key())
        client.post("/orders", headers=key())
    assert (first.text, first.headers["idempotency-stored"]) == ("0\n1\n2\n", "false")
    assert len(shop.done) == 2, "external: it may run again"


def test_what_cannot_be_kept_is_refused_where_it_is_written(shop: Shop) -> None:
    async def streams() -> StreamingResponse: ...

    def yields() -> Iterator[int]:
        yield 1

    for function, effects, why in (
        (streams, "unsafe", "stream"),
        (yields, "pure", "generator"),
        (test_a_commit_in_function_scope_comes_before_the_answer, "none", "say one of"),
    ):
        with pytest.raises(SettingsError, match=why):
            shop.zdd.idempotent(operation="x", effects=effects, principal="anonymous")(function)  # type: ignore[arg-type, type-var]


def test_a_decorator_above_the_route_refuses_to_serve(shop: Shop) -> None:
    router = APIRouter(prefix="/v1")

    @shop.zdd.idempotent(operation="orders.create", effects="pure", principal="anonymous")
    @router.post("/orders")
    async def create() -> None: ...

    shop.app.include_router(router)
    with pytest.raises(SettingsError, match=r"orders\.create.*below the route's decorator"), shop.client():
        pass


def test_two_operations_of_one_name_refuse_to_serve(shop: Shop) -> None:
    for path in ("/a", "/b"):
        shop.endpoint(path, operation="same")(lambda: None)
    with pytest.raises(SettingsError, match="two operations are called 'same'"), shop.client():
        pass


def test_trips_first_two_replay_one_and_three_with_a_session(real_engine: Engine) -> None:
    with RespTap(real_engine.url) as tap:
        shop = Shop(tap.url, fleet={"enabled": False})

        @shop.endpoint("/plain")
        async def plain() -> dict[str, int]:
            return {"ok": 1}

        @shop.endpoint("/cart")
        async def cart(session: UserSession) -> dict[str, int]:
            session["cart"] = session.get("cart", 0) + 1
            return {"cart": session["cart"]}

        @shop.app.post("/login")
        async def login(session: UserSession) -> None:
            session.login("ada")

        with shop.client() as client:
            client.post("/login")
            client.post("/plain", headers=key("warm"))
            client.post("/cart", headers=key("warm"))
            counted = []
            for path in ("/plain", "/plain", "/cart", "/cart"):
                tap.reset()
                assert client.post(path, headers=key("k")).status_code == 200
                counted.append(tap.trips)
    assert counted == [2, 1, 3, 2]


def test_openapi_shows_the_header_the_problems_and_the_lifetime(shop: Shop) -> None:
    @shop.endpoint("/orders", retention="1h")
    async def create(order: Order) -> None: ...

    with shop.client() as client:
        operation = client.get("/openapi.json").json()["paths"]["/orders"]["post"]
    parameter = next(one for one in operation["parameters"] if one["name"] == "Idempotency-Key")
    assert (parameter["in"], parameter["required"]) == ("header", True)
    assert operation["x-idempotency-key-lifetime"] == "PT3600S"
    assert {"400", "409", "422", "503"} <= set(operation["responses"])


def test_child_keys_are_the_same_in_every_run_and_differ_by_step(shop: Shop) -> None:
    seen: list[tuple[str, str]] = []

    @shop.endpoint("/orders")
    async def create() -> None:
        context = current()
        assert context is not None
        seen.append((context.child_key("charge"), context.child_key("mail")))
        if len(seen) == 1:
            raise RuntimeError("again, please")

    with shop.client() as client:
        client.post("/orders", headers=key())
        client.post("/orders", headers=key())
        client.post("/orders", headers=key("other"))
    assert seen[0] == seen[1]
    assert len({*seen[0], *seen[2]}) == 4
    assert current() is None


def test_a_request_from_nobody_where_keys_belong_to_somebody(shop: Shop) -> None:
    @shop.endpoint("/orders", principal="session.user")
    async def create(session: UserSession) -> None:
        shop.done.append("never")

    with shop.client() as client:
        answer = client.post("/orders", headers=key())
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:zdd:idempotency-principal-missing")
    assert shop.done == []


def test_who_asks_while_it_runs_is_told_when_to_ask_again(shop: Shop, engine: Engine) -> None:
    asked: list[tuple[int, str]] = []

    @shop.endpoint("/orders")
    def create() -> None:
        (name,) = Scope(shop.zdd.secrets, "/orders").names("anonymous", "k-1")
        record = shop.zdd.keys.name("idem", name)
        for left in (15_000, 3_000):
            with Wire(urlsplit(engine.url).port or 0) as wire:
                seconds, micros = wire.ask("TIME")
                wire.ask("HSET", record, "lu", int(seconds) * 1000 + int(micros) // 1000 + left)
            answer = again.post("/orders", headers=key())
            asked.append((answer.status_code, answer.headers["retry-after"]))

    with shop.client() as client, TestClient(shop.app) as again:
        client.post("/orders", headers=key())
    assert asked == [(409, "1"), (409, "3")]
