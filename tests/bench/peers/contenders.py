"""The same four routes on each framework, with our sessions and with the usual ones.

``/none`` touches no session, ``/read`` reads one field, ``/write`` reads one and writes one, ``/login`` logs in.
Every session holds ten small fields beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

FIELDS = {f"field{number}": {"name": f"item {number}", "prices": [1, 2, 3]} for number in range(10)}
SECRET = "s" * 32
URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379")


def act(path: str, query: dict[str, str], session: Any, login: Callable[[], Any]) -> str:
    """What every route does, with whatever calls itself a session there."""
    if path == "/read":
        return str(session.get("field1"))
    if path == "/write":
        _ = session.get("field1")
        session[query["name"]] = query["value"]
    elif path == "/show":
        return f"{session.get('a')},{session.get('b')}"
    elif path == "/fill":
        for name, value in FIELDS.items():
            session[name] = value
    elif path == "/login":
        login()
    return "ok"


def django(kind: str) -> Any:
    """Django: ours, its own cache sessions on its Redis cache, or on django-redis."""
    from django.conf import settings

    caches = {
        "django": "django.core.cache.backends.redis.RedisCache",
        "django-redis": "django_redis.cache.RedisCache",
    }
    ours = kind == "zdd"
    middleware = (
        "zdd_django.middleware.SessionMiddleware" if ours else "django.contrib.sessions.middleware.SessionMiddleware"
    )
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.bench.peers.django_urls",
        INSTALLED_APPS=[*(["zdd_django"] if ours else []), "django.contrib.sessions"],
        MIDDLEWARE=[*(["zdd_django.middleware.ZddMiddleware"] if ours else []), middleware],
        SESSION_ENGINE="zdd_django.sessions" if ours else "django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": caches.get(kind, caches["django"]), "LOCATION": URL}},
        ZDD={"service": "bench", "redis_url": URL, "secret": (SECRET,), "fleet": {"enabled": False}},
        USE_TZ=True,
    )
    import django as framework

    framework.setup()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def flask(kind: str) -> Any:
    """Flask: ours, or Flask-Session on Redis."""
    import flask as framework

    app = framework.Flask("bench")
    if kind == "zdd":
        from zdd_flask import Zdd

        Zdd(app, service="bench", redis_url=URL, secret=(SECRET,), fleet={"enabled": False})
    else:
        import redis
        from flask_session import Session

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(URL))
        Session(app)

    def login() -> None:
        if kind == "zdd":
            framework.session.login("ada")  # type: ignore[attr-defined]
        else:
            app.session_interface.regenerate(framework.session)  # type: ignore[attr-defined]
            framework.session["user"] = "ada"

    @app.get("/none")
    def none() -> str:
        return "ok"

    @app.route("/<path:path>", methods=["GET", "POST"])
    def route(path: str) -> str:
        return act(f"/{path}", framework.request.args.to_dict(), framework.session, login)

    return app


def starlette(kind: str) -> Any:
    """Starlette: ours, or starsessions on Redis."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    ours = kind == "zdd"

    async def none(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    async def route(request: Request) -> PlainTextResponse:
        if ours:
            from zdd_fastapi import user_session

            session: Any = await user_session(request)
        else:
            from starsessions import load_session

            await load_session(request)
            session = request.session

        def login() -> None:
            if ours:
                session.login("ada")
            else:
                from starsessions import regenerate_session_id

                regenerate_session_id(request)
                session["user"] = "ada"

        return PlainTextResponse(act(request.url.path, dict(request.query_params), session, login))

    if ours:
        from zdd_fastapi import ZddMiddleware
        from zdd_sdk import ZeroDowntime

        zdd = ZeroDowntime("bench", redis_url=URL, secret=(SECRET,), fleet={"enabled": False})
        middleware = [Middleware(ZddMiddleware, zdd=zdd)]
    else:
        from starsessions import SessionMiddleware
        from starsessions.stores.redis import RedisStore

        middleware = [Middleware(SessionMiddleware, store=RedisStore(URL), lifetime=86400, cookie_https_only=False)]
    routes = [Route("/none", none), Route("/{path:path}", route, methods=["GET", "POST"])]
    return Starlette(routes=routes, middleware=middleware)


CONTENDERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "Django, zdd": (django, "zdd"),
    "Django, cache sessions": (django, "django"),
    "Django, django-redis": (django, "django-redis"),
    "Flask, zdd": (flask, "zdd"),
    "Flask, Flask-Session": (flask, "flask-session"),
    "Starlette, zdd": (starlette, "zdd"),
    "Starlette, starsessions": (starlette, "starsessions"),
}
