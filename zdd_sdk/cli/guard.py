"""``zdd guard``: the table of guard rows of a service that uses SQLAlchemy: its SQL, and the rows that have expired."""

from __future__ import annotations

import argparse
import importlib
import os
from typing import Any

from zdd_sdk.errors import MissingExtra, SettingsError

__all__ = ["HELP", "arguments", "run"]

HELP = "Print the SQL of the table of guard rows (SQLAlchemy), or delete the rows whose retention is over."

_DIALECTS = ("postgresql", "mysql", "sqlite")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``sql`` and ``purge``."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    sql = actions.add_parser("sql", help="print the statements that make the table")
    sql.add_argument(
        "--dialect", choices=_DIALECTS, default="postgresql", help="of the database; mysql is MariaDB, too"
    )
    sql.set_defaults(action=_sql)
    purge = actions.add_parser("purge", help="delete the rows whose retention is over, in batches; from a daily job")
    purge.add_argument("--url", help="SQLAlchemy's, of a driver that is not asynchronous (default: $DATABASE_URL)")
    purge.add_argument("--batch", type=int, default=1000, help="most rows of one transaction (default: 1000)")
    purge.set_defaults(action=_purge)
    for action in (sql, purge):
        action.add_argument("--table", default="zdd_guard", help="its name (default: zdd_guard)")
        action.add_argument("--schema", help="where it lies")


def run(options: argparse.Namespace) -> int:
    """Run the action and return the exit status."""
    return int(options.action(options))


def _sql(options: argparse.Namespace) -> int:
    made = _glue().create_statements(options.dialect, name=options.table, schema=options.schema)
    print("\n\n".join(f"{one};" for one in made))
    return 0


def _purge(options: argparse.Namespace) -> int:
    url = options.url or os.environ.get("DATABASE_URL")
    if not url:
        message = "zdd guard purge: which database? Give --url, or set DATABASE_URL"
        raise SettingsError(message)
    glue = _glue()
    sqlalchemy: Any = importlib.import_module("sqlalchemy")
    table = glue.guard_table(sqlalchemy.MetaData(), name=options.table, schema=options.schema)
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
        if engine.dialect.is_async:
            message = f"zdd guard purge: {engine.driver} is asynchronous; name another driver of the database in --url"
            raise SettingsError(message)
        count = glue.purge(engine, table=table, batch=options.batch)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        message = f"zdd guard purge: {str(error).splitlines()[0]}"
        raise SettingsError(message) from None
    print(f"{count} expired rows deleted")
    return 0


def _glue() -> Any:
    # By name, since this command lies below the integrations.
    try:
        return importlib.import_module("zdd_sqlalchemy")
    except ImportError as error:
        missing = MissingExtra("zdd guard", "sqlalchemy")
        raise missing from error
