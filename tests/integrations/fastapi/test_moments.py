"""At every moment of a request: what is saved, what is answered, and what a failure there does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.testclient import TestClient

from tests.integrations.fastapi.test_placement import service
from zdd_fastapi import LazySession, UserSession, ZddMiddleware
from zdd_sdk.errors import SessionUnavailable


async def unit_of_work(session: UserSession) -> AsyncIterator[UserSession]:
    session["before"] = True
    yield session
    session["after"] = True


async def failing_work(session: UserSession) -> AsyncIterator[UserSession]:
    yield session
    raise RuntimeError("the commit failed")


async def deep(session: UserSession, lazy: LazySession, work: Annotated[Any, Depends(unit_of_work)]) -> UserSession:
    assert session is lazy is work
    return session


@pytest.fixture
def client(real_engine: Any, tmp_path: Path) -> Iterator[TestClient]:
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=service(real_engine.url))
    (tmp_path / "file").write_text("file")

    @app.get("/all")
    async def everything(session: UserSession) -> dict[str, Any]:
        return dict(session)

    @app.get("/request-scope")
    async def request_scope(work: Annotated[Any, Depends(unit_of_work)]) -> None: ...

    @app.get("/function-scope")
    async def function_scope(work: Annotated[Any, Depends(unit_of_work, scope="function")]) -> None: ...

    @app.get("/function-scope-fails")
    async def function_scope_fails(session: Annotated[Any, Depends(failing_work, scope="function")]) -> None:
        session["lost"] = True

    @app.get("/request-scope-fails")
    async def request_scope_fails(session: Annotated[Any, Depends(failing_work)]) -> None:
        session["kept"] = True

    @app.get("/everywhere")
    def everywhere(session: UserSession, inner: Annotated[Any, Depends(deep)]) -> bool:
        session["thread"] = True
        return session is inner

    @app.get("/background")
    async def background(session: UserSession, tasks: BackgroundTasks) -> None:
        def fail() -> None:
            raise SessionUnavailable("in the background")

        session["background"] = True
        tasks.add_task(fail)

    @app.get("/stream")
    async def stream(session: UserSession, explicitly: bool) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            yield "a"
            session["late"] = explicitly
            if explicitly:
                await session.save()
            yield "b"

        session["stream"] = True
        return StreamingResponse(chunks())

    @app.get("/broken-stream")
    async def broken_stream(session: UserSession) -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            yield "a"
            raise SessionUnavailable("half way")

        session["broken"] = True
        return StreamingResponse(chunks())

    @app.get("/file")
    async def file(session: UserSession) -> FileResponse:
        session["file"] = True
        return FileResponse(tmp_path / "file")

    @app.get("/headers")
    async def headers(session: UserSession, response: Response) -> None:
        session["headers"] = True
        response.set_cookie("mine", "1")
        response.headers["cache-control"] = "public, max-age=60"
        response.headers["vary"] = "Accept"

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status", "kept"),
    [
        ("/request-scope", 200, {"before": True}),
        ("/function-scope", 200, {"before": True, "after": True}),
        ("/function-scope-fails", 500, {}),
        ("/request-scope-fails", 200, {"kept": True}),
        ("/everywhere", 200, {"before": True, "thread": True}),
        ("/background", 200, {"background": True}),
        ("/stream?explicitly=no", 200, {"stream": True}),
        ("/stream?explicitly=yes", 200, {"stream": True, "late": True}),
        ("/broken-stream", 200, {"broken": True}),
        ("/file", 200, {"file": True}),
    ],
)
def test_what_is_saved_at_each_moment(client: TestClient, path: str, status: int, kept: dict[str, Any]) -> None:
    assert status == client.get(path).status_code
    assert kept == client.get("/all").json()


def test_headers_of_the_applications_own_stay_beside_ours(client: TestClient) -> None:
    answer = client.get("/headers")

    assert {"mine", "zdd_session"} == set(answer.cookies)
    assert ["no-store"] == answer.headers.get_list("cache-control"), "an answer that sets our cookie is not shared"
    assert ["Accept, Cookie"] == answer.headers.get_list("vary")
