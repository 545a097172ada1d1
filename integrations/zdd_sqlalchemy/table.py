"""The table of guard rows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sqlalchemy import CHAR, BigInteger, Column, Dialect, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import CHAR as MYSQL_CHAR
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

__all__ = ["DIALECTS", "create_statements", "guard_table"]

DIALECTS = ("postgresql", "mysql", "sqlite")
"""What guard rows are written for; MariaDB is ``mysql``, or ``mariadb``."""

_MYSQL = ("mysql", "mariadb")


def guard_table(metadata: MetaData, *, name: str = "zdd_guard", schema: str | None = None) -> Table:
    """Return the table of guard rows, added to the application's metadata, so that its migrations make it.

    Columns: ``name`` of the record (an HMAC, so case counts), ``generation``, ``fingerprint``, ``operation``,
    ``release``, ``created`` and ``expires`` in seconds since 1970 by the application's clock, ``answer``.

    Args:
        metadata: the application's, such as ``Base.metadata``, ``db.metadata`` or a ``MetaData()`` of its own.
        name: of the table.
        schema: where it lies; default the metadata's.
    """
    key = f"{schema or metadata.schema}.{name}" if schema or metadata.schema else name
    if key in metadata.tables:
        return metadata.tables[key]
    exact = CHAR(43).with_variant(MYSQL_CHAR(43, charset="ascii", collation="ascii_bin"), *_MYSQL)
    return Table(
        name,
        metadata,
        Column("name", exact, primary_key=True),
        Column("generation", BigInteger, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("operation", String(255), nullable=False),
        Column("release", String(255), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False, index=True),
        Column("answer", LargeBinary().with_variant(LONGBLOB(), *_MYSQL)),
        schema=schema,
    )


def create_statements(dialect: str, *, name: str = "zdd_guard", schema: str | None = None) -> list[str]:
    """Return the SQL that makes the table and its index.

    Args:
        dialect: one of `DIALECTS`.
        name: of the table.
        schema: where it lies.
    """
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    compiler: Dialect = module.dialect()
    table = guard_table(MetaData(), name=name, schema=schema)
    made: list[DDLElement] = [CreateTable(table), *(CreateIndex(index) for index in table.indexes)]
    return [_tidy(str(one.compile(dialect=compiler))) for one in made]


def _tidy(statement: str) -> str:
    return "\n".join(line.rstrip() for line in statement.strip().splitlines())
