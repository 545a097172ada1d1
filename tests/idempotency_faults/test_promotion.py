"""A replica that is promoted without the claim: what is lost without durability, and nothing with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.idempotency_faults.conftest import World, eventually
from tests.servers.store.conftest import Watched
from zdd_sdk.store.engine import Engine, start_engine


class Pair:
    """A master and its replica."""

    def __init__(self) -> None:
        self.master = start_engine("real", args=["--repl-diskless-sync-delay", "0"])
        self.replica = start_engine("real", args=["--replicaof", f"127.0.0.1 {self.master.port}"])
        eventually(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"), "the replica follows")
        eventually(lambda: self.master.ask("WAIT", 1, 1000) == 1, "the replica acknowledges")

    def part(self) -> None:
        """Cut them apart: what the master is told from now on, it alone knows."""
        assert self.master.ask("WAIT", 1, 20_000) == 1
        self.replica.ask("REPLICAOF", "NO", "ONE")
        eventually(lambda: b"connected_slaves:0" in self.master.ask("INFO", "replication"), "the master notices")

    @property
    def engines(self) -> tuple[Engine, Engine]:
        return self.master, self.replica


@pytest.fixture
def pair() -> Iterator[Pair]:
    opened = Pair()
    yield opened
    for engine in opened.engines:
        engine.kill()


@pytest.mark.parametrize("path", ["/unsafe", "/external"])
def test_control_without_durability_the_claim_is_lost_and_both_run(world: World, pair: Pair, path: str) -> None:
    """Documented: may run twice. An ``external`` one charges the same child key, which is charged once."""
    old, new = world.service("old", pair.master.url), world.service("new", pair.replica.url)
    pair.part()
    first = world.cut_off(old, path)
    world.ledger.entered.clear()
    second = new.begin(path)
    assert world.ledger.entered.wait(30), "the new master knows of no claim"
    assert (world.finish(first).status_code, second.result(30).status_code) == (200, 200)
    assert world.runs == ["old", "new"]
    assert len(world.ledger.charges) == 1


def test_a_claim_that_no_replica_has_is_refused_before_anything_ran(world: World, pair: Pair) -> None:
    durable = {"idempotency": {"durability": "replica"}}
    old, new = world.service("old", pair.master.url, **durable), world.service("new", pair.replica.url)
    pair.part()
    refused = old.post()
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:zdd:idempotency-unavailable")
    assert (refused.headers["x-should-retry"], "retry-after" in refused.headers) == ("true", True)
    assert world.runs == []
    assert not [key for key in pair.master.ask("KEYS", "*idem:{*") if b"open" not in key], "the claim is given back"
    assert new.post().status_code == 200
    assert world.runs == ["new"]


def test_a_claim_that_a_replica_has_survives_its_promotion(world: World, pair: Pair) -> None:
    durable = {"idempotency": {"durability": "replica"}}
    old = world.service("old", pair.master.url, **durable)
    first = world.cut_off(old)
    pair.replica.ask("REPLICAOF", "NO", "ONE")
    new = world.service("new", pair.replica.url)
    assert new.post().json()["type"] == "urn:zdd:idempotency-in-progress"
    assert world.finish(first).status_code == 200
    assert world.runs == ["old"]


def test_a_durable_claim_costs_no_trip(world: World, pair: Pair, open_tap) -> None:
    tap = open_tap(pair.master.url)
    service = world.service("one", tap.url, fleet={"role": "test"}, idempotency={"durability": "replica"})
    served = 0
    for attempt in range(100):  # on a busy machine a replica may take longer than a claim waits
        tap.reset()
        served += service.post("/external", f"k-{attempt}").status_code == 200
        if served == 2 and tap.trips == 2:  # the first one has made the scripts known
            break
    assert (tap.trips, tap.commands) == (2, ["EVALSHA", "WAIT", "EVALSHA"])


def test_a_script_the_server_has_forgotten_is_acknowledged_anew(world: World, pair: Pair, open_tap) -> None:
    """The claim is sent a second time, and what goes behind it as well: else nothing would have been written before."""
    tap = open_tap(pair.master.url)
    service = world.service("one", tap.url, fleet={"role": "test"}, idempotency={"durability": "replica"})
    service.post("/external", "warm")
    pair.part()
    pair.master.ask("SCRIPT", "FLUSH")
    tap.reset()
    assert service.post("/external", "k").status_code == 503
    assert tap.commands[:4] == ["EVALSHA", "WAIT", "EVAL", "WAIT"]
    assert world.runs == ["one"]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    opened = Watched(tmp_path)
    yield opened
    opened.close()


def test_real_sentinels_promote_a_replica_that_knows_every_claim(world: World, watched: Watched) -> None:
    """A run goes on over the failover; what was done before is known after it; new keys wait for a replica."""
    service = world.service("one", watched.url, idempotency={"durability": "replica"})
    assert [service.settled(key=f"k-{number}").status_code for number in range(5)] == [200] * 5
    watched.master.ask("WAIT", 1, 20_000)
    running = world.cut_off(service, key="running")
    watched.master.kill()
    answer = world.finish(running)
    assert answer.status_code == 200
    eventually(lambda: watched.names(watched.replica), "the replica is the master")
    again = service.settled(key="running")
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    for number in range(5):
        assert service.settled(key=f"k-{number}").headers["idempotent-replayed"] == "true"
    assert service.post(key="new").status_code == 503, "there is no replica now"
    assert len(world.runs) == 6
