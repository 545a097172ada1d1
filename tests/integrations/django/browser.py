"""A browser over Django's synchronous or asynchronous handler, on one event loop."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie
from typing import Any

from django.test import AsyncClient, Client

AWAY = "shop.example"
"""A host that is neither loopback nor a test's."""


class HostClient(AsyncClient):
    """Django's would send a host that a test names beside its own."""

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope = super()._base_scope(**request)
        *_, host = [value for name, value in scope["headers"] if name == b"host"]
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"host"] + [(b"host", host)]
        return scope


class Browser:
    """Keeps cookies as Django's test clients do; ``prefix`` picks the views, functions or coroutines."""

    def __init__(self, kind: str, prefix: str, runner: asyncio.Runner) -> None:
        self.kind, self.prefix, self._runner = kind, prefix, runner
        client = HostClient if kind == "asgi" else Client
        self.client: Any = client(raise_request_exception=False)

    def get(self, path: str, **request: Any) -> Any:
        return self.ask("get", path, **request)

    def post(self, path: str, **request: Any) -> Any:
        return self.ask("post", path, **request)

    def ask(self, method: str, path: str, *, exact: bool = False, **request: Any) -> Any:
        path = path if exact else f"{self.prefix}{path}"
        answer = getattr(self.client, method)(path, **request)
        if self.kind == "asgi":
            return self._runner.run(self._read(answer))
        if answer.streaming and not answer.is_async:
            answer.body = b"".join(answer.streaming_content)
        return answer

    async def _read(self, answering: Any) -> Any:
        answer = await answering
        if answer.streaming and answer.is_async:
            answer.body = b"".join([chunk async for chunk in answer])
        return answer

    def run(self, flow: Any) -> Any:
        return self._runner.run(flow)

    @property
    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in self.client.cookies.items() if morsel.value}

    def another(self) -> Browser:
        """Another request of the same browser, under way at the same time: it has the same cookies."""
        twin = Browser(self.kind, self.prefix, self._runner)
        twin.client.cookies = SimpleCookie(self.cookies)
        return twin
