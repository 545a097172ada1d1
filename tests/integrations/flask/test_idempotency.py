"""``@zdd.idempotent`` in Flask: one key, one effect, one answer; in every shape a view has."""

from __future__ import annotations

import gzip
import io
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

import flask
import flask_login
import pytest
from flask import Blueprint, Flask, Response, abort, jsonify, request, session, stream_with_context
from flask.views import MethodView
from werkzeug.exceptions import Conflict
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.integrations.flask.harness import SECRET, Browser, given, trips
from zdd_flask import Zdd, current_session
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError, ZddError
from zdd_sdk.idempotency import NOT_DONE, current
from zdd_sdk.store.engine import Engine
from zdd_sdk.testing.tap import RespTap
from zdd_sdk.web import WsgiServiceHalf

ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}


class Shop:
    """An application, a browser, and what it has done."""

    def __init__(self, url: str, **options: Any) -> None:
        self.zdd = ZeroDowntime("shop", **given(url, store=ROOMY, **options))
        self.app = Flask("shop")
        Zdd(self.app, self.zdd)
        self.done: list[Any] = []

    def idempotent(self, operation: str = "orders.create", **said: Any) -> Any:
        return self.zdd.idempotent(operation=operation, **{"effects": "external", "principal": "anonymous", **said})

    def post(self, path: str = "/orders", key: str | None = "k-1", **options: Any) -> Any:
        headers = {**({} if key is None else {"Idempotency-Key": key}), **options.pop("headers", {})}
        return self.browser().post(path, headers=headers, **options)

    def browser(self) -> Any:
        return Browser(self.app, self.app.response_class, use_cookies=True)

    @property
    def live(self) -> int:
        return len(self.zdd.idempotency.live)


@pytest.fixture
def shop(engine: Engine) -> Iterator[Shop]:
    found = Shop(engine.url)
    yield found
    found.zdd.lifecycle.stop(1.0)


def test_the_second_request_gets_the_first_ones_answer(shop: Shop) -> None:
    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> Any:
        shop.done.append(request.get_json()["sku"])
        headers = {"Location": f"/orders/{len(shop.done)}", "X-Trace": "t", "Set-Cookie": "a=b"}
        return {"id": len(shop.done)}, 201, headers

    first = shop.post(json={"sku": "tea"})
    again = shop.post(key='"k-1"', data=b'{ "sku" : "tea" }', content_type="application/json")
    other = shop.post(key="k-2", json={"sku": "tea"})
    assert (first.status_code, first.json, again.status_code, again.data) == (201, {"id": 1}, 201, first.data)
    assert (again.headers["location"], again.headers["idempotent-replayed"]) == ("/orders/1", "true")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert not {"x-trace", "set-cookie"} & {name.lower() for name in again.headers.keys()}  # noqa: SIM118
    assert "idempotent-replayed" not in first.headers
    assert first.headers["idempotency-key-lifetime"] == "PT86400S"
    assert (other.json, shop.done, shop.live) == ({"id": 2}, ["tea", "tea"], 0)


def test_control_a_view_without_its_bracket_does_it_twice(shop: Shop) -> None:
    @shop.app.post("/orders")
    def create() -> str:
        shop.done.append(1)
        return ""

    for _ in range(2):
        shop.post()
    assert shop.done == [1, 1]


def test_another_body_path_or_query_with_the_same_key_is_refused(shop: Shop) -> None:
    @shop.app.post("/orders/<int:number>")
    @shop.idempotent()
    def pay(number: int) -> dict[str, int]:
        return {"paid": number + request.args.get("tip", 0, int)}

    assert shop.post("/orders/1", json={"sku": "tea"}).json == {"paid": 1}
    for path, sku in (("/orders/1", "mug"), ("/orders/2", "tea"), ("/orders/1?tip=1", "tea")):
        refused = shop.post(path, json={"sku": sku})
        assert (refused.status_code, refused.json["type"]) == (422, "urn:zdd:idempotency-key-reused")
        assert refused.headers["x-should-retry"] == "false"


def test_no_key_is_refused_and_runs_nothing(shop: Shop) -> None:
    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> None:
        shop.done.append(1)

    missing = shop.post(key=None)
    assert (missing.status_code, missing.json["type"]) == (400, "urn:zdd:idempotency-key-missing")
    assert shop.post(key="x" * 256).status_code == 400
    assert not shop.done


def test_a_key_that_is_not_required(shop: Shop) -> None:
    @shop.app.post("/orders")
    @shop.idempotent(required=False)
    def create() -> str:
        shop.done.append(1)
        return ""

    assert [shop.post(key=key).status_code for key in (None, None, "a", "a")] == [200] * 4
    assert len(shop.done) == 3


# Bodies and answers


@pytest.mark.parametrize("read", ["json", "form", "files", "data", "stream", "nothing"])
def test_however_the_view_reads_its_body(shop: Shop, read: str) -> None:
    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        found = {
            "json": lambda: request.get_json()["sku"],
            "form": lambda: request.form["sku"],
            "files": lambda: request.files["file"].read().decode(),
            "data": lambda: request.get_data(as_text=True),
            "stream": lambda: request.stream.read().decode(),
            "nothing": lambda: "tea",
        }
        return str(found[read]())

    def body(text: str) -> dict[str, Any]:
        if read == "files":
            return {"data": {"file": (io.BytesIO(text.encode()), "a.txt")}}
        return {"json": {"sku": text}} if read == "json" else {"data": {"sku": text} if read == "form" else text}

    assert [shop.post(**body("tea")).text for _ in range(2)] == ["tea", "tea"]
    assert shop.post(**body("mug")).status_code == 422
    assert shop.done == [1]


def test_what_before_request_has_read_counts_all_the_same(shop: Shop) -> None:
    @shop.app.before_request
    def look() -> None:
        request.get_json(silent=True)

    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> Any:
        return request.get_json()

    assert [shop.post(json=[1]).json, shop.post(json=[1]).json] == [[1], [1]]
    assert shop.post(json=[2]).status_code == 422


def test_bytes_are_kept_before_after_request_functions_have_them(shop: Shop) -> None:
    """As Flask-Compress: what is kept is plain, and each answer is compressed for who asks."""

    @shop.app.after_request
    def compress(response: Response) -> Response:
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.set_data(gzip.compress(response.get_data()))
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Link"] = "<x>"
        return response

    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        return "tea" * 100

    first = shop.post(headers={"Accept-Encoding": "gzip"})
    plain = shop.post()
    again = shop.post(headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(first.data) == gzip.decompress(again.data) == plain.data == b"tea" * 100
    assert "content-encoding" not in plain.headers
    assert again.headers.getlist("link") == ["<x>"]
    assert shop.done == [1]


def test_a_stream_passes_live_and_is_not_kept(shop: Shop) -> None:
    seen: list[str] = []

    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> Response:
        shop.done.append(1)

        @stream_with_context
        def chunks() -> Iterator[str]:
            seen.append("first")
            yield "a"
            seen.append("second")
            yield "b"

        return Response(chunks())

    answer = shop.browser().post("/orders", headers={"Idempotency-Key": "k"}, buffered=False)
    pieces = answer.iter_encoded()
    assert (next(pieces), seen) == (b"a", ["first"]), "the second one has not been made yet"
    assert answer.headers["idempotency-stored"] == "false"
    assert list(pieces) == [b"b"]
    assert shop.post(key="k").text == "ab"
    assert (shop.done, shop.live) == ([1, 1], 0)


def test_a_stream_of_an_unsafe_view_is_not_made_twice(shop: Shop) -> None:
    @shop.app.post("/orders")
    @shop.idempotent(effects="unsafe")
    def create() -> Any:
        shop.done.append(1)
        return Response(iter(["a", "b"]))

    assert shop.post().text == "ab"
    again = shop.post()
    assert (again.status_code, again.json["type"]) == (409, "urn:zdd:idempotency-outcome-committed")
    assert shop.done == [1]


def test_a_file_is_sent_and_not_kept(shop: Shop, tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("tea")

    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> Response:
        return flask.send_file(tmp_path / "a.txt")

    for _ in range(2):
        with shop.post() as answer:
            assert (answer.text, answer.headers["idempotency-stored"]) == ("tea", "false")


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (201, b"\xff\x00"), (303, b"")])
def test_answers_without_a_body_or_type(shop: Shop, status: int, body: bytes) -> None:
    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> Response:
        shop.done.append(1)
        response = Response(body, status)
        del response.headers["Content-Type"]
        return response

    first, again = shop.post(), shop.post()
    assert (again.status_code, again.data, again.headers.get("content-type")) == (status, body, None)
    assert again.headers.get("content-length") == first.headers.get("content-length")
    assert shop.done == [1]


# How a view ends


def test_a_refusal_of_the_view_is_its_answer(shop: Shop) -> None:
    @shop.app.post("/orders")
    @shop.idempotent(effects="unsafe")
    def create() -> None:
        shop.done.append(1)
        raise Conflict("sold out")

    assert [shop.post().status_code, shop.post().status_code] == [409, 409]
    assert "sold out" in shop.post().text
    assert shop.done == [1]


def test_an_error_handlers_answer_is_what_counts(shop: Shop) -> None:
    class SoldOut(Exception): ...

    @shop.app.errorhandler(SoldOut)
    def sold_out(error: SoldOut) -> tuple[dict[str, str], int]:
        return {"sold": "out"}, 410

    @shop.app.post("/orders")
    @shop.idempotent(effects="unsafe")
    def create() -> None:
        shop.done.append(1)
        raise SoldOut

    first, again = shop.post(), shop.post()
    assert (first.status_code, again.status_code, again.json) == (410, 410, {"sold": "out"})
    assert shop.done == [1]


@pytest.mark.parametrize(("effects", "runs"), [("external", 2), ("pure", 2), ("unsafe", 1)])
@pytest.mark.parametrize("propagates", [False, True])
def test_an_unhandled_error_is_settled(shop: Shop, effects: str, runs: int, propagates: bool) -> None:
    """Also where Flask answers nothing at all, and the server has to."""
    shop.app.config["PROPAGATE_EXCEPTIONS"] = propagates

    @shop.app.post("/orders")
    @shop.idempotent(effects=effects)
    def create() -> None:
        shop.done.append(1)
        raise ZeroDivisionError

    for _ in range(2):
        try:
            assert shop.post().status_code in (500, 409)
        except ZeroDivisionError:
            assert propagates
        assert shop.live == 0
    assert len(shop.done) == runs
    if effects == "unsafe":
        assert shop.post().json["type"] == "urn:zdd:idempotency-outcome-unknown"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_breaks_the_view_off_is_settled(shop: Shop, error: type[BaseException]) -> None:
    """As gunicorn's sync worker does at its timeout."""

    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        if len(shop.done) == 1:
            raise error
        return "done"

    with pytest.raises(error):
        shop.post()
    assert shop.live == 0
    assert shop.post().text == "done"


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_not_now_and_not_you_are_never_kept(shop: Shop, status: int) -> None:
    @shop.app.post("/orders")
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        if len(shop.done) == 1:
            abort(status)
        return "done"

    first = shop.post()
    assert (first.status_code, first.headers["idempotency-stored"]) == (status, "false")
    assert shop.post().text == "done"


def test_what_comes_before_the_view_is_never_kept(shop: Shop) -> None:
    allowed: list[bool] = []

    def guarded(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def around(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs) if allowed else ("who are you?", 401)

        return around

    @shop.app.post("/orders")
    @guarded
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        return "done"

    assert shop.post().status_code == 401
    assert not shop.zdd.idempotency.counters
    allowed.append(True)
    assert [shop.post().text, shop.post().text] == ["done", "done"]
    allowed.clear()
    assert shop.post().status_code == 401, "who may no longer ask is not told what there was"
    assert shop.done == [1]


def test_an_after_request_function_that_fails_does_not_make_it_run_again(shop: Shop) -> None:
    broken = [True]

    @shop.app.after_request
    def fail(response: Response) -> Response:
        if broken and response.status_code == 200:
            raise ZeroDivisionError
        return response

    @shop.app.post("/orders")
    @shop.idempotent(effects="unsafe")
    def create() -> str:
        shop.done.append(1)
        return "done"

    assert shop.post().status_code == 500
    broken.clear()
    assert shop.post().text == "done"
    assert shop.done == [1]


def test_a_probe_may_return_what_a_view_returns(shop: Shop) -> None:
    found: list[Any] = [NOT_DONE]

    @shop.app.post("/orders")
    @shop.idempotent(effects="unsafe", on_unknown=lambda context: found[-1])
    def create() -> tuple[dict[str, int], int]:
        shop.done.append(1)
        if len(shop.done) < 3:
            raise ConnectionError
        return {"id": len(shop.done)}, 201

    assert [shop.post().status_code, shop.post().status_code, shop.done] == [500, 500, [1, 1]]
    found.append(({"id": "probed"}, 202))
    for _ in range(2):
        answer = shop.post()
        assert (answer.status_code, answer.json, shop.done) == (202, {"id": "probed"}, [1, 1])


# Shapes of views


def test_async_views_ask_the_requests_store(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their loop ends with the request, and its connections with it."""
    monkeypatch.setattr(shop.zdd, "aio_store", None)

    @shop.app.post("/orders")
    @shop.idempotent()
    async def create() -> dict[str, Any]:
        shop.done.append(1)
        context = current()
        assert context is not None
        return {"child": context.child_key("charge")}

    answers = [shop.post() for _ in range(5)]
    assert len({answer.data for answer in answers}) == 1
    assert (answers[0].status_code, shop.done) == (200, [1])


def test_blueprints_and_methods_of_views(shop: Shop) -> None:
    blueprint = Blueprint("v1", __name__, url_prefix="/v1/<tenant>")

    class Orders(MethodView):
        def __init__(self, prefix: str) -> None:
            self.prefix = prefix

        @shop.idempotent(principal="tenant")
        def post(self, tenant: str) -> str:
            shop.done.append(tenant)
            return self.prefix + tenant

        @shop.idempotent("orders.change", principal=lambda bound: (bound["self"].prefix, bound["tenant"]))
        async def put(self, tenant: str) -> str:
            shop.done.append(tenant.upper())
            return self.prefix + tenant.upper()

    blueprint.add_url_rule("/orders", view_func=Orders.as_view("orders", "of "))
    shop.app.register_blueprint(blueprint)
    for _ in range(2):
        assert [shop.post(f"/v1/{name}/orders").text for name in ("a", "b")] == ["of a", "of b"]
        answer = shop.browser().put("/v1/a/orders", headers={"Idempotency-Key": "k-1"})
        assert answer.text == "of A"
    assert shop.done == ["a", "b", "A"]


def test_decorators_of_a_view_class(shop: Shop) -> None:
    class Orders(MethodView):
        decorators = [shop.idempotent()]  # noqa: RUF012 - as Flask wants it

        def post(self) -> str:
            shop.done.append(1)
            return "done"

    shop.app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    assert [shop.post().text, shop.post().text, shop.done] == ["done", "done", [1]]


def test_flask_login_names_the_principal(shop: Shop) -> None:
    manager = flask_login.LoginManager(shop.app)

    class User(flask_login.UserMixin):
        def __init__(self, name: str) -> None:
            self.id = name

    manager.user_loader(User)

    @shop.app.post("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(User(name))
        return name

    @shop.app.post("/orders")
    @flask_login.login_required
    @shop.idempotent(principal=lambda _: flask_login.current_user.get_id())
    def create() -> str:
        shop.done.append(flask_login.current_user.get_id())
        return f"for {shop.done[-1]}"

    ann, bob = shop.browser(), shop.browser()
    assert shop.post().status_code == 401
    ann.post("/login/ann")
    bob.post("/login/bob")
    for _ in range(2):
        assert ann.post("/orders", headers={"Idempotency-Key": "k"}).text == "for ann"
        assert bob.post("/orders", headers={"Idempotency-Key": "k"}).text == "for bob", "another one's key"
        ann.post("/login/ann")  # a new session id; the same keys
    assert shop.done == ["ann", "bob"]


def test_two_applications_of_one_service(shop: Shop) -> None:
    api = Flask("api")
    Zdd(api, shop.zdd)

    @api.post("/orders")
    @shop.idempotent()
    def create() -> str:
        shop.done.append(1)
        return "done"

    shop.app.wsgi_app = DispatcherMiddleware(shop.app.wsgi_app, {"/api": api.wsgi_app})  # type: ignore[method-assign]
    assert [shop.post("/api/orders").text for _ in range(2)] == ["done", "done"]
    shop.app.wsgi_app = WsgiServiceHalf(shop.app.wsgi_app, shop.zdd)  # type: ignore[method-assign]
    assert shop.post("/api/orders").text == "done", "also below a half that knows of no framework"
    assert shop.done == [1]


# What is refused


@pytest.mark.parametrize("below", [False, True])
def test_a_decorator_above_the_route_refuses_to_serve(engine: Engine, below: bool) -> None:
    shop = Shop(engine.url)

    def guarded(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def around(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        return around if below else view

    @shop.idempotent()
    @guarded
    @shop.app.post("/orders")
    def create() -> str:
        return ""

    for _ in range(2):
        with pytest.raises(SettingsError, match=r"orders\.create: /orders .*below the route's decorator"):
            shop.post()


def test_two_operations_of_one_name_refuse_to_serve(engine: Engine) -> None:
    shop = Shop(engine.url)
    for path in ("/a", "/b"):
        shop.app.add_url_rule(path, path, shop.idempotent()(lambda: "x"), methods=["POST"])
    with pytest.raises(SettingsError, match="two operations are called"):
        shop.post("/a")


def test_a_factory_that_builds_its_application_anew(engine: Engine) -> None:
    zdd, done = ZeroDowntime("shop", **given(engine.url, store=ROOMY)), []

    def create_app() -> Flask:
        app = Flask("shop")
        Zdd(app, zdd)

        @app.post("/orders")
        @app.extensions["zdd"].idempotent(operation="orders.create", effects="external", principal="anonymous")
        def create() -> str:
            done.append(1)
            return "done"

        return app

    for app in [create_app(), create_app()]:
        for _ in range(2):
            assert app.test_client().post("/orders", headers={"Idempotency-Key": "k"}).text == "done"
    assert done == [1]
    zdd.lifecycle.stop(1.0)


def test_outside_of_a_request_that_passes_our_half(shop: Shop) -> None:
    @shop.idempotent()
    def create() -> str:
        return ""

    with shop.app.test_request_context("/orders", method="POST"), pytest.raises(ZddError, match="outside of a request"):
        create()


def test_an_application_that_is_forgotten_is_not_checked(engine: Engine) -> None:
    import gc

    zdd = ZeroDowntime("shop", **given(engine.url, secret=(SECRET,)))
    app = Flask("shop")
    Zdd(app, zdd)
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None
    zdd.start()
    zdd.lifecycle.stop(1.0)


# Trips, sessions, outages


@pytest.fixture
def tapped(tap: RespTap) -> Iterator[Shop]:
    found = Shop(tap.url)
    yield found
    found.zdd.lifecycle.stop(1.0)


def test_trips_first_two_replay_one_and_three_with_a_session(tapped: Shop, tap: RespTap) -> None:
    shop = tapped

    @shop.app.post("/plain")
    @shop.idempotent("plain")
    def plain() -> str:
        return "x"

    @shop.app.post("/cart")
    @shop.idempotent("cart")
    def cart() -> dict[str, Any]:
        session.setdefault("cart", []).append("tea")
        return {"user": current_session().user, "cart": session["cart"]}

    @shop.app.post("/login")
    def login() -> str:
        current_session().login("ann")
        return ""

    browser = shop.browser()

    def post(path: str, key: str) -> Any:
        return browser.post(path, headers={"Idempotency-Key": key})

    post("/plain", "warm")
    browser.post("/login")
    assert trips(tap, lambda: post("/plain", "a")) == 2
    assert trips(tap, lambda: post("/plain", "a")) == 1
    assert trips(tap, lambda: post("/cart", "b")) == 3, "load, claim, and one that saves and settles"
    assert trips(tap, lambda: post("/cart", "b")) == 1
    assert post("/cart", "c").json == {"user": "ann", "cart": ["tea", "tea"]}, "saved once per key"
    assert trips(tap, lambda: browser.post("/login", headers={"Idempotency-Key": "k"})) == 2, "undecorated: no claim"


def test_redis_away_is_a_503_before_anything_runs(tapped: Shop, tap: RespTap) -> None:
    @tapped.app.post("/orders")
    @tapped.idempotent()
    def create() -> str:
        tapped.done.append(1)
        return ""

    tap.refuse()
    answer = tapped.post()
    assert (answer.status_code, answer.json["type"]) == (503, "urn:zdd:idempotency-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert not tapped.done


def test_redis_gone_while_it_runs_costs_neither_answer_nor_memory(tapped: Shop, tap: RespTap) -> None:
    @tapped.app.post("/orders")
    @tapped.idempotent()
    def create() -> str:
        tapped.done.append(1)
        tap.refuse()
        return "done"

    assert tapped.post().text == "done"
    live = tapped.zdd.idempotency.live
    assert (len(live), live.owed) == (0, 1), "the pulse tells it"
    tap.heal()


# Many at once


def test_a_thousand_requests_with_fifty_keys_are_fifty_effects(shop: Shop) -> None:
    lock = threading.Lock()

    @shop.app.post("/orders/<name>")
    @shop.idempotent(wait="2s")
    def create(name: str) -> Any:
        with lock:
            shop.done.append(name)
        return jsonify(name)

    def order(number: int) -> tuple[str, Any]:
        name = str(number % 50)
        while (answer := shop.post(f"/orders/{name}", key=name)).status_code == 409:
            assert answer.json["type"] == "urn:zdd:idempotency-in-progress"
        return name, answer.json

    with ThreadPoolExecutor(32) as pool:
        for name, found in pool.map(order, range(1000)):
            assert name == found
    assert (len(shop.done), len(set(shop.done)), shop.live) == (50, 50, 0)


# Bare WSGI


def test_a_bare_application_that_fails_before_or_after_its_head_is_settled(shop: Shop) -> None:
    """Whoever brings a framework of his own: the half settles what its route has left behind."""

    @shop.idempotent()
    def handle() -> None:
        shop.done.append(1)

    class Surface:
        def response(self, answer: Any) -> Any:
            return answer

        def answer_of(self, result: Any) -> Any:
            return result

        def path_parameters(self) -> dict[str, object]:
            return {}

        def query(self) -> str:
            return ""

        def commits_late(self) -> bool:
            return False

    def fails(environ: Any, start_response: Any) -> Any:
        handle()
        raise ZeroDivisionError

    def fails_late(environ: Any, start_response: Any) -> Any:
        handle()
        yield b""
        raise ZeroDivisionError

    def says_nothing(environ: Any, start_response: Any) -> Any:
        handle()
        return iter(())

    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "HTTP_IDEMPOTENCY_KEY": "k"}
    for app in (fails, fails_late, says_nothing):
        before = len(shop.done)
        half = WsgiServiceHalf(app, shop.zdd, Surface())
        with suppress(ZeroDivisionError), closing_body(half({**environ, "wsgi.input": io.BytesIO()}, begin)) as body:
            list(body)
        assert (len(shop.done) - before, shop.live) == (1, 0)


def begin(*_: Any) -> Callable[[bytes], object]:
    return lambda _: None


@contextmanager
def closing_body(body: Any) -> Iterator[Any]:
    """As a server must (PEP 3333)."""
    try:
        yield body
    finally:
        if hasattr(body, "close"):
            body.close()
