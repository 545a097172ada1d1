"""A real three-node Cluster: one wave per ask, redirections inside the store, one node away is not all away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from zdd_sdk.errors import SettingsError, StoreReplyError, StoreUnavailable
from zdd_sdk.store import Call, Script
from zdd_sdk.store.slots import key_slot
from zdd_sdk.testing.flow import Flow

from .conftest import Cluster, eventually

_SOURCE = "#!lua\nreturn redis.call('INCR', KEYS[1])"
COUNT = Script("count", _SOURCE, hashlib.sha1(_SOURCE.encode()).hexdigest())
OpenFlow = Callable[..., Flow]
ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}


def _command(*words: Any, **more: Any) -> Call[Any]:
    return Call(lambda reply: reply, words, keys=tuple(words[1:2]), **more)


def _count(key: str, **more: Any) -> Call[Any]:
    return Call(lambda reply: reply, script=COUNT, keys=(key,), **more)


def _calls(cluster: Cluster) -> dict[int, int]:
    """Commands each node has processed for clients, by kind of interest."""
    totals: dict[int, int] = {}
    for node in cluster.nodes:
        stats = node.ask("INFO", "commandstats").decode()
        totals[node.port] = sum(
            int(line.split("calls=")[1].split(",")[0])
            for line in stats.splitlines()
            if line.startswith(("cmdstat_get", "cmdstat_set", "cmdstat_eval", "cmdstat_evalsha"))
        )
    return totals


def _keys_of_each(cluster: Cluster) -> list[str]:
    """One key per node, in the order of the nodes."""
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < len(cluster.nodes):
        key = f"zdd:test:test:k:{{{number}}}"
        keys.setdefault(cluster.owner(key_slot(key)).port, key)
        number += 1
    return [keys[node.port] for node in cluster.nodes]


def test_a_wave_reaches_every_node_and_answers_in_order(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    assert flow.store.cluster is True
    keys = [f"{{{number}}}" for number in range(60)]
    assert flow(flow.store.ask(*(_command("SET", key, key) for key in keys))) == (b"OK",) * 60
    assert flow(flow.store.ask(*(_command("GET", key) for key in keys))) == tuple(key.encode() for key in keys)
    assert flow(flow.store.ask(*(_count(f"{key}:n") for key in keys))) == (1,) * 60
    assert flow(flow.store.ask(*(_count(f"{key}:n") for key in keys))) == (2,) * 60


def test_after_the_map_is_read_no_call_is_redirected(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    keys = _keys_of_each(cluster)
    flow(flow.store.ask(*(_command("GET", key) for key in keys)))
    before = _calls(cluster)
    flow(flow.store.ask(*(_command("SET", key, "1") for key in keys)))
    assert [_calls(cluster)[port] - number for port, number in before.items()] == [1, 1, 1]


def test_a_call_without_keys_goes_to_some_node(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    assert flow(flow.store.ask(Call(lambda reply: reply, ("PING",)))) == (b"PONG",)


def test_a_command_that_names_no_key_is_redirected_and_served(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    for number in range(30):
        key = f"{{{number}}}"
        call: Call[Any] = Call(lambda reply: reply, ("SET", key, "x"))
        assert flow(flow.store.ask(call, _command("GET", key)))[0] == b"OK"


def test_keys_in_two_slots_are_an_error_of_the_call(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    call: Call[Any] = Call(lambda reply: reply, script=COUNT, keys=("{a}", "{b}"))
    with pytest.raises(StoreReplyError) as caught:
        flow(flow.store.ask(call, _command("SET", "{c}", "1")))
    assert caught.value.prefix == "CROSSSLOT"
    assert flow(flow.store.ask(_command("GET", "{c}"))) == (b"1",)


def test_a_script_a_node_forgot_is_healed_there(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    keys = _keys_of_each(cluster)
    flow(flow.store.ask(*(_count(key) for key in keys)))
    cluster.nodes[1].ask("SCRIPT", "FLUSH")
    assert flow(flow.store.ask(*(_count(key) for key in keys))) == (2, 2, 2)


def test_a_slot_that_moves_is_followed_and_no_write_runs_twice(cluster: Cluster, open_flow: OpenFlow) -> None:
    """The whole move: importing and migrating (ASK), then the new owner (MOVED), and back again."""
    flow = open_flow(cluster.url, **ROOMY)
    key = _keys_of_each(cluster)[0]
    slot, source, target = key_slot(key), cluster.nodes[0], cluster.nodes[1]
    assert flow(flow.store.ask(_count(key))) == (1,)
    for origin, goal in ((source, target), (target, source)):
        expected = int(origin.ask("GET", key))
        goal.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(origin))
        origin.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(goal))
        origin.ask("MIGRATE", "127.0.0.1", goal.port, key, 0, 5000)
        for _ in range(3):  # ASK: asked for at the goal, each time anew
            expected += 1
            assert flow(flow.store.ask(_count(key), _command("GET", key))) == (expected, str(expected).encode())
        for node in (goal, origin, cluster.nodes[2]):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(goal))
        # A gossip packet under way may still carry the old owner; nobody may begin the next move before all agree.
        eventually(lambda goal=goal: cluster.agrees_on(slot, goal), "all nodes name the new owner")
        for _ in range(3):  # MOVED: learnt at the first
            expected += 1
            assert flow(flow.store.ask(_count(key))) == (expected,)


def test_a_frozen_node_takes_its_own_calls_along_and_no_others(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url)
    keys = _keys_of_each(cluster)
    flow(flow.store.ask(*(_count(key) for key in keys)))
    cluster.nodes[2].pause()
    try:
        began = time.perf_counter()
        with pytest.raises(StoreUnavailable) as caught:
            flow(flow.store.ask(*(_count(key) for key in keys)))
        took = time.perf_counter() - began
        assert (caught.value.reason, caught.value.sent) == ("timeout", True)
        assert took < 0.2 + 0.4
        # The nodes that live are asked as ever, and the breaker stays closed.
        for number in range(3, 8):
            assert flow(flow.store.ask(_count(keys[0]), _count(keys[1]))) == (number, number)
        assert flow.store.available is True
    finally:
        cluster.nodes[2].resume()
    answers = flow(flow.store.ask(*(_command("GET", key) for key in keys)))
    assert answers == (b"7", b"7", b"2")


def test_a_seed_that_is_away_is_passed_over(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[2].port}")
    assert flow(flow.store.ask(_command("SET", "{k}", "1"))) == (b"OK",)


def test_no_node_at_all_fails_inside_the_budget(open_flow: OpenFlow) -> None:
    flow = open_flow("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable, match="no node told the map"):
        flow(flow.store.ask(_command("GET", "{k}")))
    assert time.perf_counter() - began < 0.9


def test_a_node_behind_a_plain_url_says_which_scheme_to_use(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.nodes[0].url)
    with pytest.raises(SettingsError, match=r"redis\+cluster://"):
        flow(flow.store.ask(_command("GET", _keys_of_each(cluster)[1])))


def test_many_at_once_over_all_nodes(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, pool_size=2, **ROOMY)

    async def one(number: int) -> None:
        for turn in range(5):
            values = [f"{number}:{turn}:{index}".encode() for index in range(6)]
            keys = [f"{{{number}-{index}}}" for index in range(6)]
            await flow.store.ask(*(_command("SET", key, value) for key, value in zip(keys, values, strict=True)))
            assert await flow.store.ask(*(_command("GET", key) for key in keys)) == tuple(values)

    flow.gather(*(one(number) for number in range(10)))


def test_waiting_and_listening_work_on_a_cluster(cluster: Cluster, open_flow: OpenFlow) -> None:
    flow = open_flow(cluster.url, **ROOMY)
    key = _keys_of_each(cluster)[2]
    flow(flow.store.ask(_command("RPUSH", key, "x")))
    assert flow(flow.store.wait(_command("BLPOP", key, 1), 1.0)) == [key.encode(), b"x"]
