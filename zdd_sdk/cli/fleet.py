"""``zdd fleet``, ``zdd fleet diff`` and ``zdd fleet wait``: who is alive, for people and deploy scripts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from zdd_sdk.cli.service import quiet, read_settings
from zdd_sdk.cli.units import seconds
from zdd_sdk.errors import FleetTimeout, SettingsError, StoreUnavailable
from zdd_sdk.fleet import FleetView, InstanceRow, ReleaseRow, WorkerRow
from zdd_sdk.fleet.survey import Comparison, Survey, Wanted, compare_settings, look, many, matches, wait_for
from zdd_sdk.fleet.watch import Timing
from zdd_sdk.lifecycle import find_instances, search_roots
from zdd_sdk.settings import Loaded, production_marker
from zdd_sdk.store import Keys, Store, finish

__all__ = ["HELP", "arguments", "run"]

HELP = "Show the live instances by release and state, compare their settings, or wait for a release."

T = TypeVar("T")
_DEFAULT_TIMEOUT = "120s"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the bare command, ``diff`` and ``wait``."""
    _common(parser, default=None)
    parser.set_defaults(action=_show)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    for name, add, text in (
        ("diff", _diff_arguments, "show the options that differ between live releases"),
        ("wait", _wait_arguments, "wait until a release is ready, or another is gone"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        _common(action, default=argparse.SUPPRESS)
        add(action)


def run(options: argparse.Namespace) -> int:
    """Run the action and return the exit status: 1 if the store is away or what was waited for did not come."""
    loaded = _load(options)
    try:
        with quiet(), _opened(loaded) as ask:
            return int(options.action(options, loaded, ask))
    except StoreUnavailable as error:
        print(f"zdd: unknown: the store is away: {error}", file=sys.stderr)
        return 1


def _load(options: argparse.Namespace) -> Loaded:
    """Resolve the settings; where only code names the service, it is the one that runs on this machine."""
    given = {path: value for path, value in _given(options) if value is not None}
    loaded = read_settings(given)
    if loaded.origins["service"] != "default":
        return loaded
    running = _services_here(loaded)
    if len(running) > 1:
        message = f"several services run here: {', '.join(sorted(running))}: say which with --service"
        raise SettingsError(message)
    if not running and _is_embedded(loaded):
        message = "no service runs on this machine; one elsewhere needs ZDD_SERVICE and ZDD_REDIS_URL, or the options"
        raise SettingsError(message)
    return read_settings({**given, "service": running.pop()}) if running else loaded


def _services_here(loaded: Loaded) -> set[str]:
    ending = f"-{loaded.values.environment}"
    folders = {one.path.parent.name for one in find_instances(search_roots(loaded))}
    return {name.removesuffix(ending) for name in folders if name.endswith(ending)}


def _is_embedded(loaded: Loaded) -> bool:
    """Whether there is nothing but an engine of ours, which lives as long as the service does."""
    settings = loaded.values
    return settings.store.redis_url is None and not production_marker(settings.environment, os.environ)


def _given(options: argparse.Namespace) -> Iterator[tuple[str, str | None]]:
    yield "service", options.service
    yield "environment", options.environment
    yield "store.redis_url", options.redis_url


def _common(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument(
        "--service", default=default, help="name of the service (default: ZDD_SERVICE, else what runs here)"
    )
    parser.add_argument("--environment", default=default, help="its environment (default: ZDD_ENVIRONMENT)")
    parser.add_argument("--redis-url", default=default, help="its Redis (default: ZDD_REDIS_URL)")
    parser.add_argument("--json", action="store_true", default=default or False, help="print JSON")


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="only these: version, commit, label or id")
    parser.set_defaults(action=_diff)


def _wait_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", help="what must be ready: version, commit (7 digits or more), label or id")
    parser.add_argument("--ready", type=_count, help="how many instances of it must be ready (default: 1)")
    parser.add_argument("--gone", metavar="RELEASE", help="of this release nobody may be left")
    parser.add_argument("--role", help="count only instances of this role for --ready (default: all)")
    parser.add_argument("--timeout", type=seconds, default=_DEFAULT_TIMEOUT, help="such as 120 or 2m (default: 120s)")
    parser.add_argument(
        "--allow-unknown",
        action="store_true",
        help="take a release nobody sees for gone even where it is unknown who is alive",
    )
    parser.set_defaults(action=_wait)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "must be at least 1"
        raise argparse.ArgumentTypeError(message)
    return number


Ask = Callable[[Callable[[Store, Keys], Coroutine[Any, Any, T]]], T]


@contextmanager
def _opened(loaded: Loaded) -> Iterator[Ask[Any]]:
    """Give a function that runs one flow over the blocking store."""
    from zdd_sdk.store.connect import Stores

    settings = loaded.values
    keys = Keys(settings.service, settings.environment)
    stores = Stores(settings.store, keys)
    try:
        yield lambda flow: finish(flow(stores.blocking, keys))
    finally:
        stores.close()


def _show(options: argparse.Namespace, loaded: Loaded, ask: Ask[Survey]) -> int:
    timing = Timing.of(loaded.values.fleet)
    seen = ask(lambda store, keys: look(store, keys, timing))
    print(_json(_described(loaded, seen)) if options.json else _listing(loaded, seen.view))
    return 0


def _diff(options: argparse.Namespace, loaded: Loaded, ask: Ask[Any]) -> int:
    timing = Timing.of(loaded.values.fleet)

    async def flow(store: Store, keys: Keys) -> tuple[Survey, Comparison]:
        seen = await look(store, keys, timing)
        return seen, await compare_settings(store, keys, _chosen(seen.view.workers, options.releases))

    seen, comparison = ask(flow)
    print(_json(_compared(seen.view, comparison)) if options.json else _side_by_side(seen.view, comparison))
    return 0


def _chosen(workers: Iterable[WorkerRow], releases: list[str]) -> list[WorkerRow]:
    return [row for row in workers if not releases or any(matches(row.release, text) for text in releases)]


def _wait(options: argparse.Namespace, loaded: Loaded, ask: Ask[Survey]) -> int:
    wanted = _wanted(options)
    timing = Timing.of(loaded.values.fleet)
    try:
        seen = ask(lambda store, keys: wait_for(store, keys, timing, wanted, options.timeout))
    except FleetTimeout as error:
        print(_json({"satisfied": False, "missing": str(error)}) if options.json else f"zdd: timed out: {error}")
        return 1
    described = {"satisfied": True, "missing": None, **_described(loaded, seen)}
    print(_json(described) if options.json else _listing(loaded, seen.view))
    return 0


def _wanted(options: argparse.Namespace) -> Wanted:
    if options.release is None and options.gone is None:
        message = "say what to wait for: --release, --gone or both"
        raise SettingsError(message)
    if options.release is None and options.ready is not None:
        message = "--ready counts instances of a release: give --release too"
        raise SettingsError(message)
    return Wanted(options.release, options.ready or 1, options.gone, options.role, options.allow_unknown)


def _described(loaded: Loaded, seen: Survey) -> dict[str, Any]:
    view, settings = seen.view, loaded.values
    return {
        "service": settings.service,
        "environment": settings.environment,
        "known": view.known,
        "why": view.why or None,
        "epoch": view.epoch or None,
        "workers": len(view.workers),
        "unreadable": sum(row.opaque for row in view.workers),
        "releases": [
            {**_release(release), "instances": [_instance(row) for row in rows]} for release, rows in _by_release(view)
        ],
    }


def _release(release: ReleaseRow) -> dict[str, str | None]:
    return {name: getattr(release, name) for name in release.__struct_fields__}


def _instance(row: InstanceRow) -> dict[str, Any]:
    return {
        "instance": row.instance,
        "role": row.role,
        "state": row.state,
        "workers": len(row.workers),
        "states": row.states,
    }


def _by_release(view: FleetView) -> list[tuple[ReleaseRow, list[InstanceRow]]]:
    instances = view.instances()
    return [
        (release, [row for row in instances if row.release == release and not row.workers[0].opaque])
        for release in view.releases()
    ]


def _listing(loaded: Loaded, view: FleetView) -> str:
    settings = loaded.values
    lines = [f"{settings.service} in {settings.environment}: {_standing(view)}"]
    for release, rows in _by_release(view):
        lines.append(f"\n{release.label}  (id {release.id})")
        lines += [f"  {row.instance:<32} {row.role:<7} {row.state:<10} {_counted(row.states)}" for row in rows]
    if opaque := sum(row.opaque for row in view.workers):
        lines.append(f"\n{many(opaque, 'worker')} whose rows cannot be read, of a newer release")
    return _printable("\n".join(lines))


def _standing(view: FleetView) -> str:
    if view.known:
        return f"{many(len(view.workers), 'worker')} on {many(len(view.instances()), 'instance')}"
    return f"UNKNOWN who is alive: {view.why}. Seen: {many(len(view.workers), 'worker')}"


def _counted(states: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _compared(view: FleetView, comparison: Comparison) -> dict[str, Any]:
    columns = [
        {
            "release": _release(column.release),
            "fingerprint": column.fingerprint,
            "workers": column.workers,
            "readable": column.settings is not None,
        }
        for column in comparison.columns
    ]
    return {"known": view.known, "why": view.why or None, "columns": columns, "differences": comparison.differences}


def _side_by_side(view: FleetView, comparison: Comparison) -> str:
    lines = [] if view.known else [_standing(view)]
    for number, column in enumerate(comparison.columns, 1):
        unreadable = "" if column.settings is not None else ", settings unreadable"
        lines.append(f"[{number}] {column.release.label}: {many(column.workers, 'worker')}{unreadable}")
    for option, values in comparison.differences.items():
        lines.append(f"\n{option}")
        lines += [f"  [{number}] {value}" for number, value in enumerate(values, 1)]
    if not comparison.differences:
        lines.append("no option differs" if len(comparison.columns) > 1 else "fewer than two configurations are live")
    return _printable("\n".join(lines))


def _printable(text: str) -> str:
    """Keep what a registry holds from driving the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
