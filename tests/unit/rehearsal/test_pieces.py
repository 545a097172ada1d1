"""The small decisions: cookies, judging, faults, commands, weights, configuration."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.cli import rehearse as command
from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal import RequestFailed, User, weight
from zdd_sdk.rehearsal.client import RawResponse
from zdd_sdk.rehearsal.cookies import Jar
from zdd_sdk.rehearsal.faults import Faults, parse_fault
from zdd_sdk.rehearsal.instances import instance_environment
from zdd_sdk.rehearsal.model import FaultPlan, Plan, ReleasePlan
from zdd_sdk.rehearsal.plan import NginxPlan, check_plan
from zdd_sdk.rehearsal.processes import fill_in, free_port, resolve_program
from zdd_sdk.rehearsal.routers import Backend, KubeRouter, NginxRouter
from zdd_sdk.rehearsal.routers.nginx import StaticNginxRouter, find_nginx, write_config
from zdd_sdk.rehearsal.scenario import Scenario, load_scenario
from zdd_sdk.rehearsal.traffic import judge
from zdd_sdk.rehearsal.user import InvariantBroken

OLD, NEW = (ReleasePlan(side=side, label=label, command="x {port}") for side, label in (("old", "1"), ("new", "2")))
PLAN = Plan(strategy="rolling", scenario="s.py", old=OLD, new=NEW)


@pytest.mark.parametrize("kind", ["redis-pause", "fleet-flush"])
def test_a_redis_that_others_use_is_not_hurt(kind: Any) -> None:
    ground: Any = SimpleNamespace(plan=msgspec.structs.replace(PLAN, faults=(FaultPlan(kind=kind),)))
    recorder: Any = None

    with pytest.raises(RehearsalError, match="own engine"):
        Faults(recorder, ground, engine=None, redis_url="redis://everybodys")


def test_the_jar_keeps_host_and_secure_cookies_over_plain_http() -> None:
    jar = Jar()
    jar.learn(["__Host-zdd_session=abc==; Path=/; HttpOnly; SameSite=Lax; Secure", "b=2; Path=/cart"])
    assert jar.header("/") == "__Host-zdd_session=abc=="
    assert jar.header("/cart/items") == "__Host-zdd_session=abc==; b=2"
    assert jar.header("/cartoon") == "__Host-zdd_session=abc=="


@pytest.mark.parametrize("end", ["Max-Age=0", "max-age=-1", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
def test_the_jar_forgets_what_the_server_ends(end: str) -> None:
    jar = Jar()
    jar.learn(["a=1; Path=/; Max-Age=60", f"a=; Path=/; {end}"])
    assert len(jar) == 0


def test_the_jar_keeps_what_ends_later_and_survives_nonsense() -> None:
    jar = Jar()
    jar.learn(["a=1; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "b=1; Expires=never", "nonsense", ""])
    assert (jar.get("a"), jar.get("b"), len(jar)) == ("1", "1", 2)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_the_jar_never_raises(lines: list[str]) -> None:
    jar = Jar()
    jar.learn(lines)
    jar.header("/")


def answer(status: int, **headers: str) -> RawResponse:
    return RawResponse(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), b"")


def test_an_answer_is_judged_by_its_status_and_by_what_the_scenario_expects() -> None:
    assert judge(answer(200), frozenset(), fault=False) == judge(answer(303), frozenset(), fault=False) == ""
    assert judge(answer(404), frozenset(), fault=False) == "status-4xx"
    assert judge(answer(409), frozenset({409}), fault=False) == ""
    assert judge(answer(502), frozenset(), fault=False) == "status-5xx"


def test_503_is_announced_only_during_a_fault_and_only_with_retry_after() -> None:
    assert judge(answer(503, retry_after="1"), frozenset(), fault=True) == "announced"
    assert judge(answer(503, retry_after="1"), frozenset(), fault=False) == "status-5xx"
    assert judge(answer(503), frozenset(), fault=True) == "status-5xx"
    assert judge(answer(500, retry_after="1"), frozenset(), fault=True) == "status-5xx"


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("redis-pause=10s", FaultPlan(kind="redis-pause", seconds=10.0)),
        ("redis-pause=500ms@deploy", FaultPlan(kind="redis-pause", seconds=0.5, phase="deploy")),
        ("fleet-flush", FaultPlan(kind="fleet-flush")),
        ("fleet-flush@cool-down", FaultPlan(kind="fleet-flush", phase="cool-down")),
        ("kill=2@warm-up", FaultPlan(kind="kill", count=2, phase="warm-up")),
        ("kill", FaultPlan(kind="kill", count=1)),
    ],
)
def test_faults_are_read(text: str, plan: FaultPlan) -> None:
    assert parse_fault(text) == plan


@pytest.mark.parametrize("text", ["", "fire", "redis-pause=soon", "kill=x", "kill=1@lunch", "fleet-flush@", "kill=1=2"])
def test_a_fault_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(RehearsalError, match="the fault"):
        parse_fault(text)


def test_only_known_placeholders_are_filled_in() -> None:
    assert fill_in('run {port} --log {"a": 1} {other}', {"port": 80}) == 'run 80 --log {"a": 1} {other}'


def test_a_relative_program_of_the_caller_is_found_from_a_worktree(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/serve").touch()
    (tmp_path / "tree").mkdir()
    assert resolve_program("bin/serve {port}", cwd=tmp_path / "tree") == [str(tmp_path / "bin/serve"), "{port}"]
    assert resolve_program("serve 'a b'", cwd=tmp_path) == ["serve", "a b"]
    for wrong in ("", "serve 'a"):
        with pytest.raises(RehearsalError):
            resolve_program(wrong, cwd=tmp_path)


def test_ports_are_never_given_twice_and_lie_below_the_ephemeral_range() -> None:
    taken: set[int] = set()
    ports = [free_port(taken) for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(20000 <= port < 32768 for port in ports)


def test_an_instance_gets_its_release_its_store_and_a_short_drain(monkeypatch) -> None:
    monkeypatch.setenv("ZDD_LIFECYCLE_LINGER", "7s")
    release = ReleasePlan(side="new", label="2", command="x", env={"DB": "{dir}/x-{port}.db", "ZDD_MODE": "on"})
    common = {"ZDD_REDIS_URL": "redis://r", "ZDD_SECRET": "s"}
    env = instance_environment(PLAN, release, "new-1", common, {"dir": "/data", "port": 7})
    assert (env["ZDD_RELEASE_VERSION"], env["ZDD_INSTANCE"], env["ZDD_REDIS_URL"]) == ("2", "new-1", "redis://r")
    assert env["DB"] == "/data/x-7.db"
    assert env["ZDD_LIFECYCLE_DRAIN_LAG"] == "3s", "longer than the router is late, plus a user's pause"
    assert env["ZDD_LIFECYCLE_LINGER"] == "7s", "what the caller has set stays"


def test_without_the_sdk_the_mode_is_stock() -> None:
    plan = Plan(strategy="rolling", scenario="s.py", old=OLD, new=NEW, sdk=False)
    assert instance_environment(plan, OLD, "old-1", {}, {})["ZDD_MODE"] == "stock"
    assert "ZDD_MODE" not in instance_environment(PLAN, OLD, "old-1", {}, {})


async def _one(user: User) -> None: ...


async def _two(user: User) -> None: ...


@given(st.integers(1, 50), st.floats(0.1, 10))
def test_shares_of_users_follow_the_weights(users: int, share: float) -> None:
    scenario = Scenario(((_one, share), (_two, 1.0)))
    counted = Counter(scenario.behaviour(number, users) for number in range(users))
    assert abs(counted[_one] - users * share / (share + 1)) <= 0.5 + 1e-6


def write_scenario(folder: Path, text: str) -> Path:
    path = folder / "scenario_under_test.py"
    path.write_text(text, "utf-8")
    return path


def test_virtual_users_are_the_public_coroutines_with_one_parameter(tmp_path: Path) -> None:
    text = """
from zdd_sdk.rehearsal import weight
def prepare(directory): return {"A": str(directory)}
async def setup(target): ...
async def audit(target): return {}
@weight(3)
async def buyer(user): ...
async def reader(user): ...
async def _helper(user): ...
async def other(user, more): ...
def plain(user): ...
"""
    scenario = load_scenario(write_scenario(tmp_path, text))
    assert [(function.__name__, share) for function, share in scenario.behaviours] == [("buyer", 3.0), ("reader", 1.0)]
    assert scenario.prepare
    assert scenario.setup
    assert scenario.audit


@pytest.mark.parametrize("text", ["x = 1", "import nothing_of_that_name", "1 +"])
def test_a_scenario_that_cannot_be_played_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RehearsalError, match="scenario"):
        load_scenario(write_scenario(tmp_path, text))


def test_a_missing_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RehearsalError, match="not a Python file"):
        load_scenario(tmp_path / "missing.py")


def test_a_weight_is_only_a_mark() -> None:
    assert weight(2)(_one) is _one


def test_whatever_fails_inside_an_invariant_breaks_it_except_a_failed_request() -> None:
    failed = RequestFailed("GET", "reset", None)

    async def send(user, request):
        raise failed

    user = User(3, 1, send)
    for wrong in (lambda: {}["user"], lambda: json.loads("x"), lambda: exec("assert 1 == 2, 'no'")):
        with pytest.raises(InvariantBroken) as caught, user.invariant("field"):
            wrong()
        assert caught.value.kind == "field"
        assert str(caught.value)
    with pytest.raises(InvariantBroken, match="raise AssertionError"), user.invariant("login"):
        raise AssertionError  # as an assert without a message, which pytest would rewrite
    with pytest.raises(RequestFailed):
        asyncio.run(_ask_inside(user))


async def _ask_inside(user: User) -> None:
    with user.invariant("login"):
        await user.get("/")


def test_a_request_carries_what_was_said() -> None:
    seen = []

    async def send(user, request):
        seen.append(request)
        return RawResponse(200, (("set-cookie", "a=1"), ("x", "1"), ("x", "2")), b'{"a": 1}'), "old"

    async def play() -> None:
        user = User(0, 1, send)
        user.cookies.set("sid", "x")
        response = await user.post("/a?b=1", json={"k": 1}, label="A", expect=(409,))
        assert response.json() == {"a": 1}
        assert (response.headers["x"], response.release) == ("1, 2", "old")
        await user.put("/form", data={"k": "v w"})
        await user.delete("/a")
        await user.patch("/b", data=b"raw", headers={"Content-Type": "x/y"})

    asyncio.run(play())
    post, put, delete, patch = seen
    assert (post.route, post.body, post.expect, dict(post.headers)["Cookie"]) == ("A", b'{"k":1}', {409}, "sid=x")
    assert (put.body, dict(put.headers)["Content-Length"], put.route) == (b"k=v+w", "5", "/form")
    assert "Content-Length" not in dict(delete.headers)
    assert dict(patch.headers)["Content-Type"] == "x/y"


def test_two_users_of_one_seed_differ_and_repeat() -> None:
    numbers = [User(number, 1, None).random.random() for number in (0, 1, 0)]  # type: ignore[arg-type]
    assert numbers[0] == numbers[2] != numbers[1]


def test_every_node_learns_late_in_order_and_in_the_end() -> None:
    async def play() -> None:
        router = KubeRouter(nodes=4, lag=0.2, seed=1)
        await router.start([Backend("a")])
        router.publish([Backend("b")])
        assert {router.choose(node).id for node in range(4)} == {"a"}, "nobody knows yet"
        router.publish([Backend("c")])
        await asyncio.sleep(0.3)
        assert {router.choose(node).id for node in range(4)} == {"c"}, "an old list never overtakes a newer one"
        router.publish([])
        await asyncio.sleep(0.3)
        assert router.choose(0) is None

    asyncio.run(play())


def test_weights_decide_where_connections_go() -> None:
    async def play() -> Counter[str]:
        router = KubeRouter(nodes=1, lag=0.0, seed=1)
        await router.start([Backend("old", weight=0.95), Backend("new", weight=0.05)])
        return Counter(router.choose(0).id for _ in range(4000))

    assert 120 <= asyncio.run(play())["new"] <= 290


def test_nginx_is_told_every_backend_and_can_have_none(tmp_path: Path) -> None:
    text = write_config([Backend(port=1, weight=0.19), Backend(port=2, weight=0.01)], tmp_path, 80)
    assert "server 127.0.0.1:1 weight=1000 max_fails=1;" in text
    assert "server 127.0.0.1:2 weight=53 max_fails=1;" in text
    assert "down;" in write_config([], tmp_path, 80)


def test_nginx_that_is_told_nothing_still_knows_who_listens_where(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("zdd_sdk.rehearsal.routers.nginx.find_nginx", lambda: "/nginx")
    router = StaticNginxRouter(directory=tmp_path, lag=0.0, seed=1, taken=set())
    router.publish([Backend("old-1", "old", port=1)])
    router.publish([])
    router.publish([Backend("new-1", "new", port=1)])
    answer = RawResponse(200, (("x-rehearsal-upstream", "127.0.0.1:9, 127.0.0.1:1"),), b"")
    assert router.origin(answer, Backend()).id == "new-1"
    assert not (tmp_path / "nginx.conf").exists()


def test_nginx_accepts_the_configuration_or_its_absence_is_said(tmp_path: Path) -> None:
    if (program := find_nginx()) is None:
        with pytest.raises(RehearsalError, match="nginx on PATH"):
            NginxRouter(directory=tmp_path, lag=1.0, seed=1, taken=set())
        return
    for backends, keepalive in (([], 64), ([Backend(port=1)], 64), ([Backend(port=1)], 0)):
        text = write_config(backends, tmp_path, 8080, options=NginxPlan(keepalive=keepalive, max_fails=0))
        (tmp_path / "nginx.conf").write_text(text, "utf-8")
        words = [program, "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        subprocess.run(words, check=True, capture_output=True, timeout=10)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return parser.parse_args(["--scenario", "s.py", *words])


def plan(*words: str) -> Plan:
    return command.plan_of(options(*words), old=Path("/o"), new=Path("/n"))


def test_the_command_line_becomes_a_plan() -> None:
    made = plan(
        *("serve {port}", "--new", "serve2 {port}", "--old-env", "A=1=2", "--strategy", "canary", "--without-sdk"),
        *("--fault", "kill=1", "--users", "7", "--think", "50ms", "--quick", "--no-rollback", "--grace", "20s"),
    )
    assert (made.old.command, made.new.command) == ("serve {port}", "serve2 {port}")
    assert (made.old.env, made.old.cwd, made.new.cwd) == ({"A": "1=2"}, "/o", "/n")
    assert (made.strategy, made.sdk, made.users, made.think, made.grace) == ("canary", False, 7, 0.05, 20.0)
    assert made.faults[0].kind == "kill"
    assert (made.nginx, made.rounds) == (NginxPlan(), 1)
    more = plan("{port}", "--router-option", "keepalive=0", "--router-option", "max_fails=0", "--min-ready", "2s")
    assert (more.nginx, more.min_ready) == (NginxPlan(keepalive=0, max_fails=0), 2.0)
    assert not made.rollback
    assert made.warm_up < Plan(strategy="rolling", scenario="", old=OLD, new=NEW).warm_up


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("serve",),
        ("{port}", "--old-env", "A"),
        ("{port}", "--think", "soon"),
        ("{port}", "--fault", "fire"),
        ("{port}", "--router-option", "keepalive"),
        ("{port}", "--router-option", "keepalive=-1"),
        ("{port}", "--router-option", "speed=9"),
    ],
)
def test_a_command_line_that_cannot_work_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(RehearsalError):
        plan(*words)


@pytest.mark.parametrize("more", [{"router": "nginx-static"}, {"rounds": 2, "rollback": False}])
def test_a_plan_that_contradicts_itself_is_refused(more: dict[str, Any]) -> None:
    check_plan(PLAN)
    with pytest.raises(RehearsalError, match=r"in-place|rollback"):
        check_plan(msgspec.structs.replace(PLAN, **more))


def test_a_shared_redis_gets_an_environment_of_its_own(monkeypatch) -> None:
    monkeypatch.delenv("ZDD_ENVIRONMENT", raising=False)
    assert plan("{port}").environment == "rehearsal"
    assert plan("{port}", "--redis-url", "redis://r").environment != "rehearsal"
