"""An answer leaves once the commit has been observed, and not later."""

import pytest

from tests.integrations.sqlalchemy.conftest import new_key

pytestmark = pytest.mark.xdist_group("databases")


def test_background_tasks_delay_only_what_a_request_scope_dependency_commits(database, redis, serve, tmp_path):
    if database.kind == "sqlite":
        pytest.skip("the task writes while a transaction of SQLite is open")
    keys = {style: new_key() for style in ("background-handler", "background-request")}
    with serve("fastapi", database, redis, SHOP_FLAGS=str(tmp_path)) as shop:
        for style, key in keys.items():
            assert shop.order(style, key).status_code == 200
            (tmp_path / key).touch()
    late = [database.orders(f"late-{key}") for key in keys.values()]
    assert late == [0, 1]  # the second waits for the task, because its commit does
    assert [database.orders(key) for key in keys.values()] == [1, 1]
