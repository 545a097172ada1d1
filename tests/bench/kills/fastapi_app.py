"""Each effects class, and its control, as a FastAPI endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Header
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import zdd_sqlalchemy
from tests.bench.kills.points import reach
from tests.bench.kills.service import CALLING, answer, call, environ, options, said
from tests.integrations.sqlalchemy.applications import Order
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime

__all__ = ["app"]

Key = Annotated[str, Header(alias="idempotency-key")]

zdd = ZeroDowntime(**options())
zdd_sqlalchemy.guard(zdd)
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)
engine = create_async_engine(environ("DATABASE_ASYNC"), pool_size=50, max_overflow=50, pool_timeout=60)


async def committing() -> AsyncIterator[AsyncSession]:
    """A session that is committed before the answer."""
    async with AsyncSession(engine) as session, session.begin():
        yield session


Committing = Annotated[AsyncSession, Depends(committing, scope="function")]


async def order(key: str, session: AsyncSession) -> dict[str, str]:
    """Have the effect."""
    session.add(Order(key=key))
    await session.flush()
    await reach("doing")
    return answer(key)


@app.post("/db")
@zdd.idempotent(operation="db", effects="db", principal="anonymous")
async def db(key: Key, session: Committing) -> dict[str, str]:
    return await order(key, session)


@app.post("/db-control")
@zdd.idempotent(operation="db-control", effects="external", principal="anonymous")
async def db_control(key: Key, session: Committing) -> dict[str, str]:
    return await order(key, session)


def add(name: str) -> None:
    """Add an operation that calls downstream."""

    @app.post(f"/{name}")
    @zdd.idempotent(**said(name))
    async def endpoint(key: Key, x_seconds: Annotated[float, Header()] = 0.0) -> dict[str, str]:
        return await call(name, key, x_seconds)


for _name in CALLING:
    add(_name)
