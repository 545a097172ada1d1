"""A Flask application for tests under real servers: each visitor counts alone, however many at once."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, session, stream_with_context

from zdd_flask import Zdd, current_session
from zdd_sdk.http import current_exchange

app = Flask(__name__)
Zdd(app, service="counting", fleet={"enabled": False})


@app.get("/readyz-of-the-application")
def ready() -> str:
    """Answer without a session."""
    return "ready"


@app.post("/count/<visitor>")
def count(visitor: str) -> dict[str, Any]:
    """Count this visitor, slowly, and say whom the session and the exchange belong to before and after."""
    exchange = current_exchange()
    session["visitor"] = session.get("visitor", visitor)
    session["count"] = session.get("count", 0) + 1
    time.sleep(0.02)
    same = exchange is not None and current_exchange() is exchange and exchange.path.endswith(visitor)
    return {"visitor": session["visitor"], "count": session["count"], "same": same}


@app.post("/add")
def add() -> str:
    """Add one, however many others do at the same time."""
    current_session().add("sum", 1)
    return ""


@app.get("/sum")
def total() -> dict[str, int]:
    """Return what was added."""
    return {"sum": session.get("sum", 0)}


@app.get("/stream/<visitor>")
def stream(visitor: str) -> Response:
    """Stream what the session holds, in pieces between which others are served."""

    @stream_with_context
    def pieces() -> Any:
        for _ in range(5):
            time.sleep(0.01)
            exchange = current_exchange()
            yield f"{session.get('visitor')}:{exchange is not None and exchange.path.endswith(visitor)};"

    return Response(pieces())


@app.post("/async/<visitor>")
async def count_async(visitor: str) -> dict[str, Any]:
    """The same in an async view, which Flask runs on a loop of its own."""
    session["count"] = session.get("count", 0) + 1
    return {"visitor": session.get("visitor"), "count": session["count"]}
