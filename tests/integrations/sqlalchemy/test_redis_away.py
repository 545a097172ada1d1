"""Redis is killed, or refuses every write: what has a guard row is served on the database alone."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integrations.sqlalchemy.conftest import new_key
from zdd_sdk.store.engine import start_engine

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(300)]


@pytest.fixture
def engine():
    with start_engine("real") as engine:
        yield engine


def kill(engine):
    engine.kill()


def fill(engine):
    engine.ask("CONFIG", "SET", "maxmemory", "1")


@pytest.mark.parametrize(("way", "lose"), [("fastapi/async-function", kill), ("flask/handler", fill)])
def test_guarded_endpoints_keep_serving_and_control_the_others_do_not(way, lose, database, engine, serve):
    framework, style = way.split("/")
    with serve(framework, database, engine.url) as shop:
        before = new_key()
        assert shop.order(style, before).status_code == 200
        lose(engine)
        again = shop.order(style, before)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        keys = [new_key() for _ in range(10)]
        answers = {key: [shop.order(style, key) for _ in range(2)] for key in keys}
        refused = shop.order("repeating", new_key())
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    statuses = Counter(answer.status_code for pair in answers.values() for answer in pair)
    assert statuses == {200: 20}
    assert all("idempotent-replayed" in second.headers for _, second in answers.values())
    assert [database.orders(key) for key in keys] == [1] * 10


def test_two_workers_race_on_one_key_on_the_database_alone(database, engine, serve):
    keys = [new_key() for _ in range(8)]
    with serve("fastapi", database, engine.url) as one, serve("flask", database, engine.url) as other:
        engine.kill()
        with ThreadPoolExecutor(8) as pool:
            # An operation is known by its name, whichever the framework.
            runs = [(shop, key) for key in keys for shop in (one, other, one)]
            answers = list(pool.map(lambda run: run[0].order_until_done("handler", run[1]), runs))
    assert Counter(answer.status_code for answer in answers) == {200: len(runs)}
    assert [database.orders(key) for key in keys] == [1] * len(keys)
