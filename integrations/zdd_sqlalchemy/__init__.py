"""Guard rows for SQLAlchemy 2: the key of a request, committed together with its effect; see ``docs/sqlalchemy.md``.

zdd_sqlalchemy.guard_table(Base.metadata)  # for the migration
zdd_sqlalchemy.guard(zdd)

@app.post("/orders")
@zdd.idempotent(operation="orders.create", effects="db", principal="user.id")
def create(order: Order, user: User, session: Session) -> Order:
    ...
"""

from zdd_sdk.errors import MissingExtra

try:
    import sqlalchemy.ext.asyncio as _sqlalchemy  # noqa: F401 - only to say what is missing; needs greenlet
except ImportError as error:
    _missing = MissingExtra("zdd_sqlalchemy", "sqlalchemy")
    raise _missing from error

from zdd_sqlalchemy.glue import SqlAlchemyGuard, guard
from zdd_sqlalchemy.purge import purge
from zdd_sqlalchemy.table import create_statements, guard_table
from zdd_sqlalchemy.watch import apart

__all__ = ["SqlAlchemyGuard", "apart", "create_statements", "guard", "guard_table", "purge"]
