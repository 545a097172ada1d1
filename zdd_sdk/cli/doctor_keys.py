"""What `zdd doctor` says of idempotency keys; of operations only where it is told where the code builds its service."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.cli.finding import Finding
from zdd_sdk.idempotency.browser import cors_gaps
from zdd_sdk.settings import Settings

__all__ = ["applications", "examine_browsers", "examine_durability", "examine_operations"]

_TOPIC = "keys"
_WAITAOF = (7, 2)


def applications(place: str | None) -> Iterable[object]:
    """Return whatever lies beside a service, in the module ``module:name`` says: its applications among them."""
    module = sys.modules.get((place or "").partition(":")[0])
    return tuple(vars(module).values()) if module is not None else ()


def examine_operations(zdd: ZeroDowntime) -> Iterator[Finding]:
    """Judge what is decorated, against the options."""
    settings, fleet = zdd.settings.idempotency, zdd.settings.fleet
    if not zdd.brackets:
        return
    if not settings.enabled:
        text = "idempotency.enabled is off: decorated endpoints run as often as they are asked"
        yield Finding("fail", _TOPIC, text, "switch it on")
        return
    steady = fleet.enabled and fleet.pulse_mode == "thread"
    if not steady and zdd.loaded.origins["idempotency.lease"] == "default":
        text = (
            f"leases are not renewed without a steady pulse: what takes longer than {settings.lease:g} s loses its key"
        )
        yield Finding("fail", _TOPIC, text, "set idempotency.lease above the longest operation, or let the fleet pulse")
    if not zdd.idempotency.guards and any(bracket.operation.effects == "db" for bracket in zdd.brackets):
        text = 'effects="db" needs a guard, and none is registered: the service will refuse to serve'
        yield Finding("fail", _TOPIC, text, "register the session of your database with zdd_sqlalchemy.guard")
    for operation in (bracket.operation for bracket in zdd.brackets):
        if operation.retention <= settings.lease:
            text = f"{operation.name} is remembered for {operation.retention:g} s, no longer than a lease"
            yield Finding("fail", _TOPIC, text, "raise retention above everything a client may still send again")
        if operation.effects == "unsafe" and settings.durability == "none":
            text = f"{operation.name} is unsafe: it may run twice if a failover or a restart loses its claim"
            yield Finding("warn", _TOPIC, text, "set idempotency.durability, or use a guard row or child keys")
    yield Finding(
        "note", _TOPIC, f"after a kill a key is held for up to {settings.lease:g} s: clients must go on that long"
    )


def examine_browsers(zdd: ZeroDowntime, around: Iterable[object]) -> Iterator[Finding]:
    """Judge the CORS middleware of applications with an endpoint that wants a key."""
    if any(bracket.endpoint for bracket in zdd.brackets):
        for gap in dict.fromkeys(gap for one in around for gap in cors_gaps(one)):
            yield Finding("warn", "browsers", f"pages of other origins cannot use keys: {gap}", "add the headers")


def examine_durability(settings: Settings, facts: Mapping[str, str]) -> Iterator[Finding]:
    """Judge whether the engine can give what ``idempotency.durability`` asks of it; pure."""
    wanted = settings.idempotency.durability
    if wanted == "replica" and facts.get("connected_slaves", "0") == "0":
        text = "idempotency.durability is replica, and there is none: every claim is refused"
        yield Finding("fail", _TOPIC, text, "run a replica")
    if wanted == "aof" and facts.get("aof_enabled") != "1":
        text = "idempotency.durability is aof, and appendonly is off: every claim is refused"
        yield Finding("fail", _TOPIC, text, "set appendonly yes and appendfsync always")
    if wanted == "aof" and "valkey_version" not in facts and _version(facts) < _WAITAOF:
        yield Finding(
            "fail", _TOPIC, "idempotency.durability is aof, which needs Redis 7.2 or Valkey", "upgrade the engine"
        )


def _version(facts: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in facts.get("redis_version", "0").split(".")[:2] if part.isdigit())
