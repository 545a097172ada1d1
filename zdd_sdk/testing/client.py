"""`Browsers`: clients of an ASGI application under test, each with cookies of its own."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from starlette.testclient import TestClient

__all__ = ["Browsers"]


class Browsers:
    """Opens Starlette test clients that keep our session cookie; a context manager.

    An application's lifespan runs once, from its first client until the end, however many there are.

    Over ``http://testserver`` the SDK sets its cookie without ``Secure`` (``sessions.insecure``). A cookie that
    is ``Secure`` all the same, because the settings say so or because it is the application's own, is kept and
    sent over http too; httpx alone would drop it and every request would be a stranger's.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[int, TestClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, app: Any, *, base_url: str = "http://testserver", **options: Any) -> TestClient:
        """Open one more browser on an application.

        Args:
            app: the ASGI application.
            base_url: where the client believes the application is; ``https://testserver`` gets the cookie of
                production, ``__Host-…`` with ``Secure``.
            options: passed on to `starlette.testclient.TestClient`.
        """
        client = _client_class()(app, base_url=base_url, **options)
        client.event_hooks["response"].append(lambda _: _allow_over_http(client))
        if first := self._running.get(id(app)):
            # One loop for all: what the application opened in its lifespan belongs to that loop.
            client.portal = first.portal
            client.app_state.update(first.app_state)
        else:
            self._running[id(app)] = self._stack.enter_context(client)
        return client

    def close(self) -> None:
        """End the lifespan of every application."""
        self._running.clear()
        self._stack.close()


def _allow_over_http(client: TestClient) -> None:
    for cookie in client.cookies.jar:
        cookie.secure = False


def _client_class() -> type[TestClient]:
    with warnings.catch_warnings():
        # Starlette prefers httpx2 and warns about httpx; either will do.
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient
    return TestClient
