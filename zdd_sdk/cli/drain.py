"""``zdd drain``: raise the drain flag of an instance on this machine."""

from __future__ import annotations

import argparse
import math
import sys
import time

from zdd_sdk.cli.service import read_settings
from zdd_sdk.cli.units import seconds
from zdd_sdk.lifecycle import InstanceDirectory, find_instances, search_roots

__all__ = ["HELP", "arguments", "run"]

HELP = "Drain an instance on this machine: it serves on, and tells routers and clients to go elsewhere."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add which instance and how long to wait."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--instance", metavar="NAME", help="name of the instance (needed if several run here)")
    which.add_argument("--all", action="store_true", help="every instance found")
    parser.add_argument(
        "--wait", type=seconds, nargs="?", default=0.0, const=math.inf, metavar="SECONDS",
        help="return once drain_lag has passed and no request is in flight, or once it is gone; after so long at most",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Return 0 if the flag is up; 1 if no instance matches, it is not clear which, or ``--wait`` has waited in vain."""
    loaded = read_settings()
    found = list(find_instances(search_roots(loaded)))
    wanted = options.instance or loaded.values.lifecycle.instance
    chosen = [one for one in found if options.all or wanted in (None, one.instance)]
    if not chosen or (len(chosen) > 1 and not options.all):
        _explain(found, chosen)
        return 1
    for one in chosen:
        one.ask_to_drain("zdd drain")
        print(f"{one.instance}: draining, {_counted(len(one.workers()))}")
    return 0 if _wait(chosen, options.wait) else 1


def _counted(processes: int) -> str:
    return f"{processes} process{'' if processes == 1 else 'es'}"


def _explain(found: list[InstanceDirectory], chosen: list[InstanceDirectory]) -> None:
    names = ", ".join(f"{one.instance} ({one.path.parent.name})" for one in found) or "none"
    problem = "several instances" if len(chosen) > 1 else "no such instance"
    print(f"zdd drain: {problem}; running here: {names}", file=sys.stderr)


def _wait(chosen: list[InstanceDirectory], seconds: float) -> bool:
    """Return whether nobody would miss the instances; also if nobody wants to wait for that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(one.quiet() for one in chosen):
        time.sleep(min(0.1, max(0.0, end - time.monotonic())))
    if seconds:
        for one in chosen:
            print(f"{one.instance}: {_rest(one)}")
    return not seconds or all(one.quiet() for one in chosen)


def _rest(one: InstanceDirectory) -> str:
    if not one.workers():
        return "gone"
    return "nothing in flight, stop it now" if one.quiet() else "requests are still in flight"
