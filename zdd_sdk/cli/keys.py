"""``zdd keys``: idempotency keys whose outcome is unknown, and what operators decide about them."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from zdd_sdk.app import ZeroDowntime
from zdd_sdk.cli.service import add_service, find_service, quiet
from zdd_sdk.errors import SettingsError, StoreUnavailable
from zdd_sdk.idempotency.answer import StoredAnswer, decode
from zdd_sdk.idempotency.calls import Shown
from zdd_sdk.idempotency.model import Record
from zdd_sdk.idempotency.scope import Scope
from zdd_sdk.store import Store, finish

__all__ = ["HELP", "arguments", "run"]

HELP = "Show idempotency keys, list those of unknown outcome, and decide them."

_PAGE = 100
_STATES = {"P": "in progress", "C": "completed", "U": "unknown"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``list-unknown``, ``show``, ``resolve`` and ``purge``."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, function, text in (
        ("list-unknown", _list_unknown, "list the keys of which nobody knows whether they had their effect"),
        ("show", _show, "show what is known of one key"),
        ("resolve", _resolve, "say whether the effect of an unknown key is there"),
        ("purge", _purge, "forget a key, whatever its state: the next request runs"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("--json", action="store_true", help="machine-readable")
        action.set_defaults(action=function)
        if name != "list-unknown":
            _name_arguments(action)
        if name == "resolve":
            _verdict_arguments(action)
        add_service(action)


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the record, as list-unknown shows it; or the client's key")
    parser.add_argument("--operation", help="NAME is the client's key of this operation …")
    parser.add_argument("--principal", help="… of this principal (default: anonymous)", default="anonymous")


def _verdict_arguments(parser: argparse.ArgumentParser) -> None:
    verdict = parser.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--done", action="store_true", help="the effect is there: repetitions get 409, or the answer")
    verdict.add_argument("--not-done", action="store_true", help="it is not: the next request runs")
    parser.add_argument("--status", type=int, help="with --done: status of the answer to repeat")
    parser.add_argument("--body", default="", help="with --status: its body, JSON")
    parser.add_argument("--by", default=None, help="who says so (default: this user)")


def run(options: argparse.Namespace) -> int:
    """Carry the action out; 1 if the store is away, or there is nothing of that name."""
    zdd = find_service(options.service)
    store = zdd.blocking_store()
    if store is None:
        message = "this service has no store (redis_url=off), so it has no keys"
        raise SettingsError(message)
    try:
        with quiet():
            return int(finish(options.action(options, zdd, store)))
    except StoreUnavailable as error:
        print(f"zdd: unknown: the store is away: {error}")
        return 1


def _names(options: argparse.Namespace, zdd: ZeroDowntime) -> tuple[str, ...]:
    if options.operation is None:
        return (options.name,)
    return Scope(zdd.secrets, options.operation).names(options.principal, options.name)


async def _look(options: argparse.Namespace, zdd: ZeroDowntime, store: Store) -> list[tuple[str, Shown]]:
    names = _names(options, zdd)
    shown = await store.ask(*(zdd.idempotency.calls.show(name) for name in names))
    return [(name, one) for name, one in zip(names, shown, strict=True) if one.record is not None]


async def _show(options: argparse.Namespace, zdd: ZeroDowntime, store: Store) -> int:
    found = await _look(options, zdd, store)
    _print([_row(name, shown) for name, shown in found], zdd, as_json=options.json)
    return int(not found)


async def _list_unknown(options: argparse.Namespace, zdd: ZeroDowntime, store: Store) -> int:
    rows = [_row(name, shown) async for name, shown in _unknown(zdd, store)]
    _print(rows, zdd, as_json=options.json)
    return 0


async def _unknown(zdd: ZeroDowntime, store: Store) -> AsyncIterator[tuple[str, Shown]]:
    """Yield what is unknown, or will be as soon as somebody asks; take what is over off the list."""
    calls, start = zdd.idempotency.calls, 0
    while True:
        (names,) = await store.ask(calls.list_open(start, _PAGE))
        if not names:
            return
        shown: tuple[Shown, ...] = await store.ask(*(calls.show(name) for name in names))
        over = [name for name, one in zip(names, shown, strict=True) if _is_over(one)]
        for name, one in zip(names, shown, strict=True):
            if name not in over and _is_unknown(one):
                yield name, one
        if over:
            await store.ask(calls.closed(*over))
        start += len(names) - len(over)


def _is_over(shown: Shown) -> bool:
    return shown.record is None or (isinstance(shown.record, Record) and shown.record.state == "C")


def _is_unknown(shown: Shown) -> bool:
    record = shown.record
    if not isinstance(record, Record):
        return True
    return record.state == "U" or (record.state == "P" and record.lease < shown.now)


async def _resolve(options: argparse.Namespace, zdd: ZeroDowntime, store: Store) -> int:
    answer = None
    if options.status:
        answer = StoredAnswer(options.status, (("content-type", "application/json"),), options.body.encode())
    found = [(name, one.record) for name, one in await _look(options, zdd, store) if isinstance(one.record, Record)]
    calls = zdd.idempotency.calls
    by = options.by or f"operator {getpass.getuser()}"
    asked = [calls.resolve(name, record.generation, answer, by, done=options.done) for name, record in found]
    decided = await store.ask(*asked, *([calls.closed(*(name for name, _ in found))] if found else []))
    if not found or not all(decided[: len(found)]):
        reasons = f"there is no such key {_whose(zdd)}, it still runs, or somebody else was faster"
        print(f"nothing was decided: {reasons}; look again")
        return 1
    print("decided: " + ("done, it is not run again" if options.done else "not done, the next request runs"))
    return 0


async def _purge(options: argparse.Namespace, zdd: ZeroDowntime, store: Store) -> int:
    calls, names = zdd.idempotency.calls, _names(options, zdd)
    gone = await store.ask(*(calls.purge(name) for name in names), calls.closed(*names))
    print("forgotten" if any(gone[: len(names)]) else f"there is no such key {_whose(zdd)}")
    return int(not any(gone[: len(names)]))


def _row(name: str, shown: Shown) -> dict[str, Any]:
    record = shown.record
    if not isinstance(record, Record):
        return {"name": name, "state": f"written by a newer release (version {getattr(record, 'version', '?')})"}
    lapsed = record.state == "P" and record.lease < shown.now
    kept = decode(record.answer, b"" if shown.body else None) if record.answer and not record.length else None
    return {
        "name": name,
        "operation": record.operation,
        "state": "unknown" if lapsed and record.effects == "unsafe" else _STATES[record.state],
        "why": record.why or ("lapsed" if lapsed else ""),
        "effects": record.effects,
        "first": _time(record.first),
        "forgotten": _time(record.ends),
        "instance": record.holder.instance,
        "release": record.holder.release,
        "generation": record.generation,
        "status": kept.status if kept else None,
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _whose(zdd: ZeroDowntime) -> str:
    return f"in service {zdd.settings.service!r}, environment {zdd.settings.environment!r}"


def _print(rows: list[dict[str, Any]], zdd: ZeroDowntime, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print("\n".join(f"{title:<11} {value}" for title, value in row.items() if value not in ("", None)), end="\n\n")
    if not rows:
        print(f"none {_whose(zdd)}")
