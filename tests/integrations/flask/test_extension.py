"""`Zdd` in applications as people build them: factories, blueprints, several in one process, one within another."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, session
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from tests.integrations.flask.harness import add_views, browser, cookie, given, service, shop, zdd_of
from zdd_flask import Zdd, current_session
from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError, StoreNotConfigured
from zdd_sdk.http import current_exchange
from zdd_sdk.lifecycle import State, active, begin_serving, serving


@pytest.fixture(autouse=True)
def starters(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Who wants to start when a server begins to serve: here only those of the test."""
    found: list[Any] = []
    monkeypatch.setattr(serving, "_starters", found)
    yield found
    for start in found:
        start.__self__.lifecycle.stop(1.0)


def test_an_application_factory(tap: Any) -> None:
    extension = Zdd()

    def create_app(service: str) -> Flask:
        app = Flask(service)
        app.config["ZDD"] = given(tap.url, service=service)
        extension.init_app(app)
        add_views(app)
        return app

    first, again, other = create_app("one"), create_app("one"), create_app("two")
    assert zdd_of(first) is zdd_of(again)
    assert zdd_of(first) is not zdd_of(other)
    assert "two" == zdd_of(other).settings.service
    client = browser(first)
    client.post("/append/pen")
    assert {"cart": ["pen"]} == client.get("/me").json["all"]  # type: ignore[index]


def test_options_here_win_over_those_of_the_configuration(tap: Any) -> None:
    app = Flask("shop")
    app.config["ZDD"] = given(tap.url, service="configured", sessions={"cookie_name": "c"})
    Zdd(app, service="given")
    assert ("given", "c") == (zdd_of(app).settings.service, zdd_of(app).settings.sessions.cookie_name)


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        ({"colour": "red"}, {}, "colour"),
        ({}, {"sessions": {"idle_timeout": "soon"}}, "idle_timeout"),
        ({}, {"zdd": "one", "service": "two"}, "service"),
        ({"service": "two"}, {"zdd": "one"}, "ZDD"),
    ],
)
def test_a_wrong_option_is_named_when_the_application_is_built(
    config: dict[str, Any], options: dict[str, Any], named: str
) -> None:
    app = Flask("shop")
    app.config["ZDD"] = config
    if "zdd" in options:
        options = {**options, "zdd": service("redis://127.0.0.1:1")}
    with pytest.raises(SettingsError, match=named):
        Zdd(app, **options)


def test_the_same_application_twice_is_a_mistake(tap: Any) -> None:
    app = shop(tap.url)
    with pytest.raises(SettingsError, match="twice"):
        Zdd(app)


def test_building_starts_and_connects_nothing(tap: Any) -> None:
    app = shop(tap.url)
    assert not zdd_of(app).started
    assert "stores" not in vars(zdd_of(app))
    assert 0 == tap.trips


def test_an_adapter_starts_it(tap: Any, starters: list[Any]) -> None:
    app = shop(tap.url)
    assert active() is not zdd_of(app).lifecycle
    assert begin_serving() is zdd_of(app).lifecycle
    assert zdd_of(app).started
    assert 1 == len(starters)


def test_an_adapter_is_told_that_it_refuses_to_serve(starters: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZDD_REDIS_URL", raising=False)
    Zdd(Flask("shop"), environment="production", secret=("s" * 40,))
    with pytest.raises(StoreNotConfigured, match="ZDD_REDIS_URL"):
        begin_serving()
    starters.clear()


def test_one_service_in_several_applications(tap: Any) -> None:
    zdd = service(tap.url)
    apps = [Flask(name) for name in ("a", "b")]
    for app in apps:
        Zdd(app, zdd)
        add_views(app)
    mounted = DispatcherMiddleware(apps[0], {"/b": apps[1]})
    client = Client(mounted, Response)
    client.post("/append/pen", base_url="https://shop.test")
    seen = client.get("/b/me", base_url="https://shop.test").json
    assert seen is not None
    assert ["pen"] == seen["all"]["cart"]
    assert 200 == client.get("/readyz", base_url="https://shop.test").status_code


def test_an_application_of_another_service_within_ours_keeps_its_own_sessions_and_drains_with_it(tap: Any) -> None:
    outer, inner = shop(tap.url), Flask("inner")
    Zdd(inner, service(tap.url, "inner", sessions={"cookie_name": "inner", "cookie_path": "/in"}))
    add_views(inner)
    outer.wsgi_app.app.app = DispatcherMiddleware(outer.wsgi_app.app.app, {"/in": inner})  # type: ignore[attr-defined]
    client = browser(outer)
    client.post("/append/pen")
    client.post("/in/append/ink")
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]
    assert ["ink"] == client.get("/in/me").json["all"]["cart"]  # type: ignore[index]
    zdd_of(outer).lifecycle.begin_drain("test")
    assert State.DRAINING is zdd_of(inner).lifecycle.state


def test_errors_of_ours_within_a_blueprint(tap: Any) -> None:
    app, api, site = shop(tap.url), Blueprint("api", __name__), Blueprint("site", __name__)

    @api.get("/api/me")
    def of_api() -> dict[str, Any]:
        return dict(session)

    @site.get("/site/me")
    def of_site() -> dict[str, Any]:
        return dict(session)

    @site.errorhandler(Exception)
    def failed(error: Exception) -> tuple[str, int]:
        return f"site: {type(error).__name__}", 503

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[str, int]:
        return "http", error.code or 500

    app.register_blueprint(api)
    app.register_blueprint(site)
    client = browser(app)
    client.post("/append/pen")
    tap.refuse()
    assert "application/problem+json" == client.get("/api/me").content_type
    assert "site: SessionUnavailable" == client.get("/site/me").text
    assert "http" == client.get("/nowhere").text


def test_the_exchange_is_there_for_everything_below(tap: Any) -> None:
    app, seen = shop(tap.url), []

    @app.before_request
    def before() -> None:
        seen.append(current_exchange())

    @app.teardown_request
    def after(_error: BaseException | None) -> None:
        seen.append(current_exchange())

    browser(app).get("/plain")
    assert [True, True] == [exchange is not None and exchange.path == "/plain" for exchange in seen]
    assert current_exchange() is None


def test_health_comes_before_everything_of_the_applications(tap: Any) -> None:
    app = shop(tap.url)
    app.config["TRUSTED_HOSTS"] = ["shop.test"]

    @app.before_request
    def refuse() -> tuple[str, int]:
        return "log in first", 401

    client = app.test_client()
    for path in ("/livez", "/readyz", "/startupz"):
        assert 200 == client.get(path, base_url="http://10.1.2.3:8000").status_code
    assert 401 == browser(app).get("/plain").status_code
    zdd_of(app).lifecycle.begin_drain("test")
    assert 503 == client.get("/readyz").status_code
    assert 401 == browser(app).get("/plain").status_code, "served on while draining"


def test_a_check_of_the_applications_own(tap: Any) -> None:
    app = shop(tap.url)

    @zdd_of(app).check
    def search() -> bool:
        return True

    client = app.test_client()
    assert "search" in client.get("/readyz").text


@pytest.mark.parametrize("outside", [True, False])
def test_behind_a_proxy_that_speaks_https(tap: Any, outside: bool) -> None:
    app = Flask("shop")
    if not outside:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    Zdd(app, service(tap.url))
    if outside:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    add_views(app)
    answer = app.test_client().post(
        "/append/pen", base_url="http://127.0.0.1:8000", headers={"X-Forwarded-Proto": "https"}
    )
    assert answer.headers["Set-Cookie"].startswith("__Host-zdd_session=")


def test_behind_middleware_of_ones_own_that_knows_of_https(tap: Any) -> None:
    app = Flask("shop")
    within = app.wsgi_app

    def over_https(environ: dict[str, Any], start: Any) -> Any:
        environ["wsgi.url_scheme"] = "https"
        return within(environ, start)

    app.wsgi_app = over_https  # type: ignore[method-assign,assignment]
    Zdd(app, service(tap.url))
    add_views(app)
    answer = app.test_client().post("/append/pen", base_url="http://127.0.0.1:8000")
    assert answer.headers["Set-Cookie"].startswith("__Host-zdd_session=")


def test_stock_mode_knows_nothing_of_us_but_sessions_in_this_process(tap: Any) -> None:
    app = shop(tap.url, mode="stock")
    client = browser(app)
    client.post("/append/pen")
    assert ["pen"] == client.get("/me").json["all"]["cart"]  # type: ignore[index]
    client.post("/login/ada")
    assert "ada" == client.get("/me").json["user"]  # type: ignore[index]
    assert 404 == client.get("/readyz").status_code
    assert 0 == tap.trips


def test_sessions_can_stay_flasks_own(tap: Any) -> None:
    app = Flask("shop")
    app.secret_key = "k" * 32
    before = app.session_interface
    Zdd(app, service(tap.url, sessions={"enabled": False}))
    assert app.session_interface is before
    assert app.config["SESSION_COOKIE_SAMESITE"] is None


def test_another_extensions_sessions_are_replaced_and_it_is_said(tap: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Rival(type(Flask("x").session_interface)):  # type: ignore[misc]
        pass

    app = Flask("shop")
    app.session_interface = Rival()
    with caplog.at_level(logging.WARNING):
        Zdd(app, service(tap.url))
    assert "Rival is replaced" in caplog.text


def test_an_application_that_is_forgotten_is_freed(tap: Any, starters: list[Any]) -> None:
    app = shop(tap.url)
    browser(app).post("/append/pen")
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None


def test_a_login_works_with_werkzeugs_debugger_keeping_the_context(tap: Any) -> None:
    app = shop(tap.url)
    app.debug = True
    with browser(app) as client:
        client.post("/login/ada")
        assert "ada" == current_session().user
        client.get("/me", follow_redirects=True)
        assert "ada" == current_session().user
    assert cookie(client)


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["zdd", "--help"], 0, "doctor"),
        (["zdd", "explain"], 0, "from-code"),
        (["zdd", "explain", "--help"], 0, "machine-readable"),
        (["zdd", "fleet", "--json"], 0, "from-code"),
        (["zdd", "fleet", "--service"], 2, ""),
        (["zdd", "nonsense"], 2, ""),
    ],
)
def test_flask_zdd_is_zdd_for_this_application(
    tap: Any, capfd: pytest.CaptureFixture[str], words: list[str], status: int, expected: str
) -> None:
    app = Flask("shop")
    Zdd(app, service(tap.url, "from-code"))
    result = app.test_cli_runner().invoke(args=words)
    assert status == result.exit_code, result.output
    assert expected in result.output + capfd.readouterr().out


def test_flask_zdd_drain_finds_the_instance_where_the_applications_options_put_it(tap: Any, tmp_path: Path) -> None:
    app = Flask("shop")
    Zdd(app, service(tap.url, lifecycle={"run_dir": str(tmp_path / "run")}))
    zdd_of(app).start()
    result = app.test_cli_runner().invoke(args=["zdd", "drain"])
    assert (0, True) == (result.exit_code, "draining, 1 process" in result.output)


def test_a_command_outside_flask_knows_nothing_of_it(tap: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The control: what `flask zdd` prints comes from the application."""
    from zdd_sdk.cli import main

    Zdd(Flask("shop"), service(tap.url, "from-code"))
    assert 0 == main(["explain"])
    assert "from-code" not in capsys.readouterr().out


def test_a_service_built_by_hand_is_used_as_it_is(tap: Any) -> None:
    zdd = service(tap.url)
    app = Flask("shop")
    Zdd(app, zdd)
    assert isinstance(zdd, ZeroDowntime)
    assert zdd_of(app) is zdd
