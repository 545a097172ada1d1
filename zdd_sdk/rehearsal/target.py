"""One live instance, for a scenario's ``setup`` and ``audit``: requests nobody counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from zdd_sdk.rehearsal.client import Line, RawResponse
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.user import Request, RequestFailed, User, to_response

__all__ = ["Target"]


class Target(User):
    """Sends like a `zdd_sdk.rehearsal.User`, without pauses, to one instance; nothing is measured.

    Attributes:
        url: of the instance, without a slash at the end.
        directory: data of this rehearsal; what ``{dir}`` in a command stands for.
    """

    def __init__(self, backend: Backend, directory: Path, *, timeout: float = 30.0) -> None:
        super().__init__(-1, 0, self._ask)
        self.url = f"http://{backend.host}:{backend.port}"
        self.directory = directory
        self._backend = backend
        self._timeout = timeout

    async def _ask(self, user: User, request: Request) -> tuple[RawResponse, str]:
        backend = self._backend
        line = Line(backend.host, backend.port)
        headers = [("Host", f"{backend.host}:{backend.port}"), ("Connection", "close"), *request.headers]
        try:
            async with asyncio.timeout(self._timeout + (request.patience or 0.0)):
                await line.connect()
                raw = await line.exchange(
                    request.method, request.path, headers, request.body, patience=request.patience
                )
        finally:
            line.close()
        user.cookies.learn(raw.values("set-cookie"))
        if not 200 <= raw.status < 400 and raw.status not in request.expect:  # noqa: PLR2004 — RFC 9110 classes
            failure = f"status-{raw.status // 100}xx"
            raise RequestFailed(request.method, failure, to_response(raw, backend.release))
        return raw, backend.release
