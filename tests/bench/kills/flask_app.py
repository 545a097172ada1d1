"""Each effects class, and its control, as a Flask view."""

from __future__ import annotations

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy

import zdd_sqlalchemy
from tests.bench.kills.points import reach
from tests.bench.kills.service import CALLING, answer, call, environ, options, said
from tests.integrations.sqlalchemy.applications import Base, Order
from zdd_flask import Zdd
from zdd_sdk import ZeroDowntime
from zdd_sdk.store import finish

__all__ = ["app"]

zdd = ZeroDowntime(**options())
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = environ("DATABASE")
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 50, "max_overflow": 50, "pool_timeout": 60}
db = SQLAlchemy(app, model_class=Base)
Zdd(app, zdd)
zdd_sqlalchemy.guard(zdd, db.session)


def order() -> dict[str, str]:
    """Have the effect, and commit it."""
    key = request.headers["idempotency-key"]
    db.session.add(Order(key=key))
    db.session.flush()
    finish(reach("doing"))
    db.session.commit()
    return answer(key)


@app.post("/db")
@zdd.idempotent(operation="db", effects="db", principal="anonymous")
def guarded() -> dict[str, str]:
    return order()


@app.post("/db-control")
@zdd.idempotent(operation="db-control", effects="external", principal="anonymous")
def repeating() -> dict[str, str]:
    return order()


def add(name: str) -> None:
    """Add an operation that calls downstream."""

    @app.post(f"/{name}", endpoint=name)
    @zdd.idempotent(**said(name))
    def view() -> dict[str, str]:
        return finish(call(name, request.headers["idempotency-key"], float(request.headers.get("x-seconds", 0))))


for _name in CALLING:
    add(_name)
