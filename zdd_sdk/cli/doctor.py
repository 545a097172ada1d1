"""`zdd doctor`: checks a deployment before its users do; each finding says what breaks and how to mend it."""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.cli.doctor_keys import applications, examine_browsers, examine_durability, examine_operations
from zdd_sdk.cli.finding import Finding, Level
from zdd_sdk.cli.service import add_service, find_service, quiet
from zdd_sdk.cli.uninstall import judge_step
from zdd_sdk.errors import SettingsError, StoreNotConfigured, StoreUnavailable, ZddError
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.lifecycle.model import grace_finding
from zdd_sdk.sessions.adopt_count import read_tally
from zdd_sdk.settings import Settings, production_marker
from zdd_sdk.store import Call, finish
from zdd_sdk.store.acl import acl_line

__all__ = ["HELP", "Finding", "arguments", "diagnose", "examine_engine", "examine_settings", "run"]

HELP = "Check this deployment: settings, secret, Redis, grace period, release."

_MARKS = {"ok": "✓", "note": "·", "warn": "!", "fail": "✗"}
_FLOORS = {"redis": (7, 0), "valkey": (7, 2)}
_MAX_SKEW = 1.0
"""Seconds: tokens and guard rows compare clocks; one second is ten times what NTP keeps."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``zdd doctor``."""
    add_service(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--strict", action="store_true", help="a warning fails, too")
    parser.add_argument("--acl", action="store_true", help="print the least-privilege ACL line for Redis, and stop")


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 if one of them fails."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        zdd = find_service(options.service)
    if options.acl:
        settings = zdd.settings
        print(acl_line(settings.service, settings.environment, durability=settings.idempotency.durability))
        return 0
    unknown = [Finding("fail", "settings", str(warning.message), "remove or correct it") for warning in said]
    with quiet():
        findings = [*unknown, *diagnose(zdd, applications(options.service))]
    _show(findings, as_json=options.json)
    bad = {"fail", "warn"} if options.strict else {"fail"}
    return int(any(finding.level in bad for finding in findings))


def diagnose(zdd: ZeroDowntime, around: Iterable[object] = ()) -> list[Finding]:
    """Look at everything: settings and environment first, then the engine.

    Args:
        zdd: the service.
        around: objects among which its applications are.
    """
    return [
        *_examine_name(zdd),
        *examine_settings(zdd.settings, os.environ),
        *_examine_secret(zdd),
        *_examine_release(zdd),
        *examine_operations(zdd),
        *examine_browsers(zdd, around),
        *_examine_store(zdd),
        *_examine_adoption(zdd),
    ]


def examine_settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Judge options against one another; pure."""
    if finding := grace_finding(settings.lifecycle):
        yield Finding("fail", "grace period", finding, "lower the drain's parts or raise the platform's grace period")
    else:
        yield Finding("ok", "grace period", f"the drain fits into {settings.lifecycle.grace_period:g} s")
    try:
        Timing.of(settings.fleet)
    except SettingsError as error:
        yield Finding("fail", "fleet", str(error), "raise fleet.ttl")
    production = production_marker(settings.environment, environ)
    if settings.sessions.insecure and production:
        text = f"sessions.insecure is on, and this is production ({production}): cookies travel in clear text"
        yield Finding("fail", "cookies", text, "unset sessions.insecure and serve https")
    if settings.sessions.same_site == "None":
        yield Finding("warn", "cookies", "SameSite=None: any site can send this cookie along", "use Lax")
    if settings.mode == "stock":
        yield Finding("fail", "mode", "ZDD_MODE=stock switches zdd off", "unset it; it is for rehearsals only")


def _examine_name(zdd: ZeroDowntime) -> Iterator[Finding]:
    if zdd.loaded.origins["service"] == "default":
        text = f"no name in environment or file: looking at `{zdd.settings.service}`, without what your code says"
        yield Finding("note", "service", text, "`zdd doctor shop:zdd` looks at the ZeroDowntime of your code")


def _examine_secret(zdd: ZeroDowntime) -> Iterator[Finding]:
    try:
        zdd.secrets.derive("doctor")
    except ZddError as error:
        yield Finding("fail", "secret", str(error), "set ZDD_SECRET")
        return
    if zdd.settings.secret:
        yield Finding("ok", "secret", f"{len(zdd.settings.secret)} root secret(s)")
    else:
        yield Finding("note", "secret", "a development secret of this machine is in use")


def _examine_release(zdd: ZeroDowntime) -> Iterator[Finding]:
    missing = [name for name in ("version", "commit") if zdd.release.fields()[name].value is None]
    if len(missing) == 2:  # noqa: PLR2004 - both
        text = "neither version nor commit is known: two releases cannot be told apart"
        level: Level = "fail" if production_marker(zdd.settings.environment, os.environ) else "warn"
        yield Finding(level, "release", text, "run `zdd release bake` in the build, or set ZDD_RELEASE_VERSION")
    else:
        yield Finding("ok", "release", f"this is {zdd.release.label}")


def _examine_store(zdd: ZeroDowntime) -> Iterator[Finding]:
    try:
        target = zdd.stores.check()
    except StoreNotConfigured as error:
        yield Finding("fail", "store", str(error), "set ZDD_REDIS_URL")
        return
    if target.kind == "off":
        yield Finding("note", "store", "no store: sessions and the fleet are off")
        return
    try:
        facts, skew = _ask_engine(zdd)
    except (StoreUnavailable, ZddError) as error:
        yield Finding("fail", "store", str(error), "check ZDD_REDIS_URL, the network and the engine")
        return
    yield from examine_engine(facts, skew, embedded=target.kind == "embedded")
    if facts:
        yield from examine_durability(zdd.settings, facts)


def _examine_adoption(zdd: ZeroDowntime) -> Iterator[Finding]:
    step, store = zdd.settings.sessions.adopt, zdd.blocking_store()
    if step == "off" or store is None:
        return
    try:
        need = judge_step(step, finish(read_tally(store, zdd.keys)), now=time.time())
    except StoreUnavailable as error:
        yield Finding("warn", "adoption", f"sessions.adopt = {step}; how far it is is unknown: {error}", "ask again")
    else:
        yield Finding("warn" if need.needed else "note", "adoption", need.text, need.mend)


def examine_engine(facts: Mapping[str, str], skew: float, *, embedded: bool) -> Iterator[Finding]:
    """Judge what the engine says of itself; pure.

    Args:
        facts: the fields of ``INFO``; empty where the engine does not know it.
        skew: seconds by which the engine's clock is ahead of ours.
        embedded: a development engine that need not keep anything.
    """
    if abs(skew) > _MAX_SKEW:
        yield Finding("warn", "clock", f"the engine's clock differs by {skew:+.1f} s", "run NTP on both machines")
    if embedded:
        yield Finding("note", "store", "an embedded engine: fine for development, keeps nothing")
        return
    if not facts:
        yield Finding("note", "store", "the engine answers, but not INFO: version and eviction are not checked")
        return
    for judge in (_judge_version, _judge_eviction, _judge_persistence):
        yield judge(facts)


def _judge_version(facts: Mapping[str, str]) -> Finding:
    kind = "valkey" if "valkey_version" in facts else "redis"
    text = facts.get(f"{kind}_version", "0")
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if version < _FLOORS[kind]:
        return Finding("fail", "store", f"{kind} {text} is older than {_FLOORS[kind]}", "upgrade the engine")
    return Finding("ok", "store", f"{kind} {text} answers")


def _judge_eviction(facts: Mapping[str, str]) -> Finding:
    policy, limit = facts.get("maxmemory_policy", "noeviction"), facts.get("maxmemory", "0")
    if policy == "noeviction":
        return Finding("ok", "eviction", "noeviction")
    level: Level = "warn" if limit == "0" else "fail"
    text = (
        f"maxmemory-policy is {policy}: sessions and claims all carry a TTL and would be evicted under pressure, "
        "and what loses its claim may run twice"
    )
    return Finding(level, "eviction", text, "set noeviction here, and ZDD_CACHE_REDIS_URL for what may be evicted")


def _judge_persistence(facts: Mapping[str, str]) -> Finding:
    if facts.get("aof_enabled") == "1":
        return Finding("ok", "persistence", "append-only file")
    replicas = facts.get("connected_slaves", "0")
    if replicas != "0":
        return Finding("ok", "persistence", f"{replicas} replica(s), no append-only file")
    text = "neither an append-only file nor a replica: a restart of Redis logs everyone out"
    return Finding("warn", "persistence", text, "set appendonly yes, or run a replica")


def _ask_engine(zdd: ZeroDowntime) -> tuple[dict[str, str], float]:
    info: Call[dict[str, str]] = Call(read=_parse_info, command=("INFO",), again=True, on_error=lambda _: {})
    now: Call[float] = Call(read=lambda reply: int(reply[0]) + int(reply[1]) / 1e6, command=("TIME",), again=True)
    store = zdd.stores.blocking
    began = time.time()
    theirs, facts = finish(store.ask(now, info, probe=True))
    return facts, theirs - (began + time.time()) / 2


def _parse_info(reply: Any) -> dict[str, str]:
    lines = bytes(reply).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    write: Callable[[str], None] = print
    for finding in findings:
        write(f"{_MARKS[finding.level]} {finding.topic:<14} {finding.text}")
        if finding.mend:
            write(f"  {'':<14} → {finding.mend}")
