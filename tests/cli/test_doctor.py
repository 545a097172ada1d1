"""`zdd doctor` and `zdd explain`: each finding says what breaks; the exit status is for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zdd_sdk.cli import main
from zdd_sdk.cli.doctor import examine_engine, examine_settings
from zdd_sdk.settings import FleetSettings, LifecycleSettings, SessionSettings, Settings

SOUND = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "maxmemory": "0", "aof_enabled": "1"}


def topics(findings: Any, level: str) -> set[str]:
    return {finding.topic for finding in findings if finding.level == level}


def test_a_sound_engine_has_nothing_to_mend() -> None:
    assert all(finding.level == "ok" for finding in examine_engine(SOUND, 0.0, embedded=False))


@pytest.mark.parametrize(
    ("facts", "topic", "level"),
    [
        ({"redis_version": "6.2.1"}, "store", "fail"),
        ({"valkey_version": "7.2.5", "redis_version": "7.2.4"}, "store", "ok"),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": "100"}, "eviction", "fail"),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": "0"}, "eviction", "warn"),
        ({"aof_enabled": "0", "connected_slaves": "0"}, "persistence", "warn"),
        ({"aof_enabled": "0", "connected_slaves": "1"}, "persistence", "ok"),
    ],
)
def test_an_engine_that_loses_data_is_found(facts: dict[str, str], topic: str, level: str) -> None:
    assert topic in topics(examine_engine({**SOUND, **facts}, 0.0, embedded=False), level)


def test_a_clock_that_is_off_is_found() -> None:
    assert {"clock"} == topics(examine_engine(SOUND, -3.0, embedded=False), "warn")


@pytest.mark.parametrize(
    ("settings", "environ", "topic"),
    [
        (Settings(lifecycle=LifecycleSettings(drain_lag=25)), {}, "grace period"),
        (Settings(fleet=FleetSettings(pulse=5)), {}, "fleet"),
        (Settings(sessions=SessionSettings(insecure=True)), {"DYNO": "web.1"}, "cookies"),
        (Settings(mode="stock"), {}, "mode"),
    ],
)
def test_unsafe_settings_fail(settings: Settings, environ: dict[str, str], topic: str) -> None:
    assert topic in topics(examine_settings(settings, environ), "fail")
    assert set() == topics(examine_settings(Settings(), {}), "fail")


@pytest.fixture
def deployment(real_engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZDD_REDIS_URL", real_engine.url)
    monkeypatch.setenv("ZDD_SECRET", "s" * 40)
    monkeypatch.setenv("ZDD_RELEASE_VERSION", "1.4.2")
    return monkeypatch


def test_a_sound_deployment_passes(deployment: Any, capsys: Any) -> None:
    assert 0 == main(["doctor"])
    assert "answers" in capsys.readouterr().out


def test_an_unknown_variable_fails_here_where_it_only_warns_at_boot(deployment: Any, capsys: Any) -> None:
    deployment.setenv("ZDD_SESSIONS_IDEL_TIMEOUT", "1h")

    assert 1 == main(["doctor", "--json"])
    assert any("ZDD_SESSIONS_IDEL_TIMEOUT" in finding["text"] for finding in json.loads(capsys.readouterr().out))


def test_an_unreachable_store_fails_without_showing_its_password(deployment: Any, capsys: Any) -> None:
    deployment.setenv("ZDD_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")

    assert 1 == main(["doctor"])
    assert "hunter2" not in capsys.readouterr().out


def test_a_release_nobody_knows_fails_in_production_and_warns_before(deployment: Any, capsys: Any) -> None:
    deployment.delenv("ZDD_RELEASE_VERSION")

    assert 0 == main(["doctor"])
    assert 1 == main(["doctor", "--strict"])
    deployment.setenv("ZDD_ENVIRONMENT", "production")
    assert 1 == main(["doctor"])


def test_what_code_says_is_seen_with_its_name(deployment: Any, tmp_path: Path, capsys: Any) -> None:
    code = 'from zdd_sdk import ZeroDowntime\nzdd = ZeroDowntime("shop_in_code", sessions={"idle_timeout": "2h"})\n'
    (tmp_path / "shop_in_code.py").write_text(code, "utf-8")
    deployment.syspath_prepend(tmp_path)

    assert 0 == main(["doctor", "--acl", "shop_in_code:zdd"])
    assert "~zdd:shop_in_code:development:*" in capsys.readouterr().out
    assert 0 == main(["explain", "shop_in_code:zdd", "--json"])
    rows = {row["option"]: row for row in json.loads(capsys.readouterr().out)["options"]}
    assert ("2h", "argument") == tuple(rows["sessions.idle_timeout"][name] for name in ("value", "origin"))


@pytest.mark.parametrize("place", ["shop", ":zdd", "no_such_module:zdd", "json:nothing", "json:loads"])
def test_a_place_that_holds_no_service_is_bad_input(deployment: Any, place: str, capsys: Any) -> None:
    assert 2 == main(["explain", place])
    assert place.rpartition(":")[0] in capsys.readouterr().err


def test_explain_shows_every_option_with_its_origin_and_no_secret(deployment: Any, capsys: Any) -> None:
    deployment.setenv("ZDD_SESSIONS_IDLE_TIMEOUT", "1h")

    assert 0 == main(["explain", "--json"])
    report = json.loads(capsys.readouterr().out)
    rows = {row["option"]: row for row in report["options"]}

    assert ("1h", "ZDD_SESSIONS_IDLE_TIMEOUT") == (
        rows["sessions.idle_timeout"]["value"],
        rows["sessions.idle_timeout"]["origin"],
    )
    assert "(set)" == rows["secret"]["value"]
    assert "first byte" == report["order"][-1]
    assert 0 == main(["explain", "--docs"])
    assert "s" * 40 not in capsys.readouterr().out


SERVICE = """
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime("shop", environment="test"{options})
app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"]{cors})

@zdd.idempotent(operation="pay", effects="{effects}", principal="anonymous"{said})
async def pay() -> None: ...
"""
CORS = ', allow_headers=["*"], expose_headers=["*"]'


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        ({"cors": ""}, ("warn", "allow_headers lacks Idempotency-Key; expose_headers lacks Idempotency-Key-Lifetime")),
        ({"cors": CORS + ", allow_credentials=True"}, ("warn", "expose_headers lacks")),
        ({"effects": "unsafe"}, ("warn", "pay is unsafe")),
        ({"effects": "db"}, ("fail", "needs a guard, and none is registered")),
        ({"said": ', retention="10s"'}, ("fail", "no longer than a lease")),
        ({"options": ', fleet={"enabled": False}'}, ("fail", "leases are not renewed")),
        ({"options": ', fleet={"pulse_mode": "request"}'}, ("fail", "leases are not renewed")),
        ({"options": ', idempotency={"enabled": False}'}, ("fail", "as often as they are asked")),
        ({"options": ', idempotency={"durability": "replica"}'}, ("fail", "there is none: every claim is refused")),
        ({"options": ', idempotency={"durability": "aof"}'}, ("fail", "appendonly is off")),
        ({"options": ', fleet={"enabled": False}, idempotency={"lease": "1m"}'}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_what_idempotent_operations_need(
    deployment: Any, capsys: Any, tmp_path: Path, said: dict[str, str], finding: tuple[str, str]
) -> None:
    level, why = finding
    name = f"shop_{abs(hash(str(said)))}"
    text = SERVICE
    for word, default in {"options": "", "cors": CORS, "effects": "external", "said": ""}.items():
        text = text.replace(f"{{{word}}}", said.get(word, default))
    (tmp_path / f"{name}.py").write_text(text)
    main(["doctor", f"{name}:zdd", "--json"])
    findings = json.loads(capsys.readouterr().out)
    found = [finding for finding in findings if finding["topic"] in {"keys", "browsers"} and finding["level"] != "note"]
    assert [finding["level"] for finding in found][:1] == ([level] if level else [])
    assert not why or why in found[0]["text"]


def test_what_only_works_within_a_request_is_no_application(deployment: Any, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "shop_proxies.py").write_text(
        "from flask import request\n" + SERVICE.format(options="", cors="", effects="external", said="")
    )
    assert main(["doctor", "shop_proxies:zdd"]) == 0
    assert "expose_headers lacks" in capsys.readouterr().out


def test_the_acl_line_has_what_durability_needs(deployment: Any, capsys: Any) -> None:
    main(["doctor", "--acl"])
    assert "+wait" not in capsys.readouterr().out
    deployment.setenv("ZDD_IDEMPOTENCY_DURABILITY", "replica")
    main(["doctor", "--acl"])
    assert capsys.readouterr().out.endswith("+wait\n")
