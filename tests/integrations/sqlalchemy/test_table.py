"""The table: made by the application's own migrations, or by the SQL that is printed; what has expired goes."""

import sys
import time

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, func, insert, inspect, select

import zdd_sqlalchemy
from tests.integrations.sqlalchemy.applications import guard_rows
from zdd_sdk.cli import main
from zdd_sqlalchemy.table import DIALECTS

pytestmark = pytest.mark.xdist_group("databases")

ENV = """
from alembic import context
from sqlalchemy import MetaData

import zdd_sqlalchemy

target_metadata = MetaData()
zdd_sqlalchemy.guard_table(target_metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=target_metadata,
    include_name=lambda name, kind, _: kind != "table" or name == "zdd_guard",  # others' tests share the database
)
with context.begin_transaction():
    context.run_migrations()
"""


@pytest.fixture
def bare(database):
    """A database without the table."""
    guard_rows.drop(database.engine, checkfirst=True)
    yield database
    guard_rows.drop(database.engine, checkfirst=True)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    guard_rows.create(database.engine)


def differences(connection: Connection) -> list[object]:
    """What Alembic would still change about the table."""
    metadata = MetaData()
    zdd_sqlalchemy.guard_table(metadata)
    ours = {"include_name": lambda name, kind, _: kind != "table" or name == "zdd_guard"}
    return list(compare_metadata(MigrationContext.configure(connection, opts=ours), metadata))


def test_alembic_makes_the_table(bare, tmp_path):
    config = Config(stdout=sys.stderr)
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    config.set_main_option("path_separator", "os")
    config.config_file_name = str(tmp_path / "alembic.ini")
    command.init(config, str(tmp_path / "migrations"))
    (tmp_path / "migrations" / "env.py").write_text(ENV)
    with bare.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.revision(config, "guard rows", autogenerate=True)
        command.upgrade(config, "head")
    with bare.engine.connect() as connection:
        assert differences(connection) == []
        assert "zdd_guard" in inspect(connection).get_table_names()


def test_the_printed_sql_makes_the_table(bare, capsys):
    dialect = "mysql" if bare.kind == "mariadb" else bare.kind
    assert main(["guard", "sql", "--dialect", dialect]) == 0
    with bare.engine.begin() as connection:
        for statement in capsys.readouterr().out.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    with bare.engine.connect() as connection:
        assert differences(connection) == []


def test_control_another_table_is_seen_to_differ(bare):
    with bare.engine.begin() as connection:
        assert differences(connection) != []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_printed_sql_names_table_and_schema(dialect, capsys):
    assert main(["guard", "sql", "--dialect", dialect, "--table", "keys", "--schema", "shop"]) == 0
    assert "CREATE TABLE shop.keys" in capsys.readouterr().out.replace('"', "").replace("`", "")


def fill(database, expired: int, living: int) -> None:
    now = int(time.time())
    said = {"generation": 1, "fingerprint": "f", "operation": "o", "release": "r", "created": 0}
    with database.engine.begin() as connection:
        connection.execute(guard_rows.delete())
        for count, expires in ((expired, now - 1), (living, now + 100)):
            rows = [{"name": f"{expires}-{one}", "expires": expires, **said} for one in range(count)]
            connection.execute(insert(guard_rows), rows)


def test_expired_rows_are_deleted_in_batches(database, capsys):
    fill(database, 25, 3)
    assert zdd_sqlalchemy.purge(database.engine, batch=10, pause=0.0) == 25
    with database.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(guard_rows)) == 3


def test_the_command_deletes_them(database, capsys, monkeypatch):
    fill(database, 2, 1)
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["guard", "purge"]) == 0
    assert capsys.readouterr().out == "2 expired rows deleted\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give --url"),
        (["--url", "no url"], "Could not parse"),
        (["--url", "sqlite+aiosqlite://"], "aiosqlite is asynchronous"),
    ],
)
def test_the_command_says_what_it_lacks(words, message, capsys, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["guard", "purge", *words]) == 2
    assert message in capsys.readouterr().err
