"""A real Sentinel deployment and a real three-node Cluster, started by the tests themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Keys
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.testing.flow import AsyncioFlow, BlockingFlow, Flow


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition of a real server; fail with its name."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture(params=["blocking", "asyncio"])
def open_flow(request: pytest.FixtureRequest) -> Iterator[Callable[..., Flow]]:
    """Open a flow of either colour on a URL, with the default limits unless told."""
    opened: list[Flow] = []

    def open_one(url: str, **options: Any) -> Flow:
        stores = Stores(StoreSettings(redis_url=url, **options), Keys("test", "test"))
        opened.append(BlockingFlow(stores) if request.param == "blocking" else AsyncioFlow(stores))
        return opened[-1]

    yield open_one
    for flow in opened:
        flow.close()


class Watched:
    """A master, a replica and three sentinels that fail over in under two seconds."""

    def __init__(self, directory: Path) -> None:
        self.master = start_engine("auto")
        self.replica = start_engine("auto", args=["--replicaof", f"127.0.0.1 {self.master.port}"])
        self.sentinels = [self._start_sentinel(directory / str(number)) for number in range(3)]
        nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{nodes}/main/0"
        eventually(self._is_known, "every sentinel knows the others and the replica")

    def _start_sentinel(self, directory: Path) -> Engine:
        directory.mkdir()
        file = directory / "sentinel.conf"
        file.write_text(
            f"sentinel monitor main 127.0.0.1 {self.master.port} 2\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        return start_engine("auto", args=[str(file), "--sentinel"], directory=directory)

    def _is_known(self) -> bool:
        facts = [_pairs(sentinel.ask("SENTINEL", "MASTER", "main")) for sentinel in self.sentinels]
        return all(fact[b"num-other-sentinels"] == b"2" and fact[b"num-slaves"] == b"1" for fact in facts)

    def names(self, engine: Engine) -> bool:
        """Whether every sentinel says that this is the master."""
        replies = [sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main") for sentinel in self.sentinels]
        return all(int(reply[1]) == engine.port for reply in replies)

    def close(self) -> None:
        for engine in (*self.sentinels, self.replica, self.master):
            engine.kill()


def _pairs(reply: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A Sentinel deployment of its own for each test: they break it."""
    deployment = Watched(tmp_path)
    yield deployment
    deployment.close()


class Cluster:
    """Three masters without replicas, a third of the slots each."""

    def __init__(self, directory: Path) -> None:
        self.nodes: list[Engine] = []
        for number in range(3):
            place = directory / str(number)
            place.mkdir()
            arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            self.nodes.append(start_engine("auto", args=arguments, directory=place))
        first, *others = self.nodes
        for low, high, node in zip((0, 5461, 10923), (5460, 10922, 16383), self.nodes, strict=True):
            node.ask("CLUSTER", "ADDSLOTSRANGE", low, high)
        for epoch, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        eventually(self.is_whole, "the cluster is whole")
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def is_whole(self) -> bool:
        """Whether every node sees every slot covered by all three."""
        infos = [node.ask("CLUSTER", "INFO") for node in self.nodes]
        return all(b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info for info in infos) and all(
            len(node.ask("CLUSTER", "SLOTS")) == 3 for node in self.nodes
        )

    def agrees_on(self, slot: int, owner: Engine) -> bool:
        """Whether every node names this owner of a slot, at the same epoch."""
        epochs = {node.ask("CLUSTER", "INFO").split(b"cluster_current_epoch:")[1].split()[0] for node in self.nodes}
        return len(epochs) == 1 and all(
            any(
                low <= slot <= high and port == owner.port
                for low, high, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS")
            )
            for node in self.nodes
        )

    def id_of(self, node: Engine) -> str:
        return str(node.ask("CLUSTER", "MYID").decode())

    def owner(self, slot: int) -> Engine:
        """The node that serves a slot, as the first node sees it."""
        for low, high, (_, port, *_), *_ in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(slot)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """The cluster, empty and whole; shared by the tests of a module, which put back what they move."""
    for node in _cluster.nodes:
        node.resume()
    eventually(_cluster.is_whole, "the cluster is whole again")
    for node in _cluster.nodes:
        node.flush()
        node.ask("SCRIPT", "FLUSH")
    return _cluster
