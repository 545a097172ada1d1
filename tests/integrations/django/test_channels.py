"""Channels: a consumer that reads the session, saves it when told, and is closed by a drain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from channels.testing import WebsocketCommunicator
from django.core.asgi import get_asgi_application

from tests.integrations.django.browser import AWAY, Browser
from zdd_django import asgi
from zdd_django.channels import AuthMiddlewareStack
from zdd_django.sessions import SessionStore


class Updates(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        session = self.scope["session"]
        await self.send_json({"user": self.scope["user"].get_username(), "cart": await session.aget("cart")})

    async def receive_json(self, content: Any, **_: Any) -> None:
        await self.scope["session"].aset("cart", content)
        await self.scope["session"].asave()
        await self.send_json("saved")


@pytest.fixture
def application():
    return asgi.protect(
        ProtocolTypeRouter({"http": get_asgi_application(), "websocket": AuthMiddlewareStack(Updates.as_asgi())})
    )


def test_a_consumer_has_the_session(configured, ada, application):
    configured()
    browser = Browser("wsgi", "/", asyncio.Runner())
    browser.post("put_inside?value=tea")
    browser.post("log_in?user=ada")
    cookie = browser.cookies["sessionid"]

    async def talk():
        headers = [(b"host", b"testserver"), (b"cookie", f"sessionid={cookie}".encode())]
        socket = WebsocketCommunicator(asgi.protect(AuthMiddlewareStack(Updates.as_asgi())), "/ws", headers=headers)
        await socket.connect()
        first = await socket.receive_json_from(5)
        await socket.send_json_to(["mug"])
        saved = await socket.receive_json_from(5)
        await socket.disconnect()
        return first, saved

    with asyncio.Runner() as runner:
        assert runner.run(talk()) == ({"user": "ada", "cart": ["tea"]}, "saved")
    assert SessionStore(cookie)["cart"] == ["mug"]


def test_the_cookie_has_the_name_it_was_given(configured, ada, application):
    configured()
    browser = Browser("wsgi", "/", asyncio.Runner())
    browser.post("put_inside?value=tea", secure=True, headers={"host": AWAY, "referer": f"https://{AWAY}/"})
    name, cookie = next(iter(browser.cookies.items()))
    assert name == "__Host-sessionid"

    async def talk(name):
        headers = [(b"host", AWAY.encode()), (b"cookie", f"{name}={cookie}".encode())]
        socket = WebsocketCommunicator(AuthMiddlewareStack(Updates.as_asgi()), "/ws", headers=headers)
        await socket.connect()
        first = await socket.receive_json_from(5)
        await socket.disconnect()
        return first["cart"]

    with asyncio.Runner() as runner:
        assert runner.run(talk(name)) == ["tea"]
        assert runner.run(talk("sessionid")) is None, "the control: a name any subdomain can plant"


def test_a_drain_closes_it_with_1012(configured, application):
    service = configured(lifecycle={"drain_lag": 0.2, "linger": 0.1, "drain_timeout": 1})

    async def talk():
        socket = WebsocketCommunicator(
            asgi.protect(AuthMiddlewareStack(Updates.as_asgi())), "/ws", headers=[(b"host", b"testserver")]
        )
        await socket.connect()
        await socket.receive_json_from(5)
        service.lifecycle.begin_drain("test")
        return await socket.receive_output(5)

    with asyncio.Runner() as runner:
        assert runner.run(talk())["code"] == 1012


def test_a_server_gets_a_lifespan(configured, application):
    service = configured()

    async def live():
        sent, messages = [], iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

        async def receive():
            return next(messages)

        async def send(message):
            sent.append((message["type"], service.started))

        await asgi.protect(get_asgi_application())({"type": "lifespan"}, receive, send)
        return sent

    with asyncio.Runner() as runner:
        assert runner.run(live()) == [("lifespan.startup.complete", True), ("lifespan.shutdown.complete", False)]
