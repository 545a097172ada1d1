"""``zdd rehearse``: deploy and roll back under load, and exit with 1 if anything was lost."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zdd_sdk.errors import RehearsalError
from zdd_sdk.settings.units import parse_duration

__all__ = ["HELP", "arguments", "plan_of", "run"]

HELP = "Rehearse a deployment and its rollback under load, and count what is lost."

_STRATEGIES = ("in-place", "recreate", "rolling", "blue-green", "canary")
_ROUTERS = ("kube", "nginx", "nginx-static")
_LABELS = {"old": "1", "new": "2"}
_QUICK = {"warm_up": 2.0, "settled": 2.0, "cool_down": 2.0, "step": 2.5}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("command", nargs="?", metavar="CMD", help="command of both releases, with {port}")
    parser.add_argument("--scenario", required=True, metavar="FILE", help="Python file with the virtual users")
    _release_arguments(parser.add_argument_group("releases"))
    _deployment_arguments(parser.add_argument_group("deployment"))
    _traffic_arguments(parser.add_argument_group("traffic"))
    output = parser.add_argument_group("output")
    output.add_argument("--out", default="build/rehearsal", metavar="DIR", help="for the report and logs (%(default)s)")
    output.add_argument("--json", action="store_true", help="print rehearsal.json instead of the table")


def run(options: argparse.Namespace) -> int:
    """Rehearse; 0 nothing was lost, 1 something was, 2 it could not be carried out."""
    from zdd_sdk.rehearsal.checkout import checked_out
    from zdd_sdk.rehearsal.core import rehearse
    from zdd_sdk.rehearsal.report import encode_summary, write_report
    from zdd_sdk.rehearsal.report.live import make_progress
    from zdd_sdk.rehearsal.report.table import summary_table

    here, out = Path.cwd(), _writable(Path(options.out))
    with contextlib.ExitStack() as stack:
        places = {
            side: stack.enter_context(checked_out(ref, caller=here)) if ref else here
            for side, ref in (("old", options.old_ref), ("new", options.new_ref))
        }
        plan = plan_of(options, old=places["old"], new=places["new"])
        progress = stack.enter_context(contextlib.closing(make_progress(title=_title(plan))))
        result, summary = rehearse(plan, out, progress)
    page = write_report(result, summary, out)
    if options.json:
        sys.stdout.write(encode_summary(summary).decode())
    else:
        from rich.console import Console

        Console().print(summary_table(summary))
        print(f"report: {page}")
    return 0 if summary.ok else 1


def plan_of(options: argparse.Namespace, *, old: Path, new: Path) -> Any:
    """Build the `zdd_sdk.rehearsal.plan.Plan` that the options describe; ``old`` and ``new`` are where to run.

    Raises:
        RehearsalError: a release has no command, or an option cannot be read.
        SettingsError: ``--redis-url`` is no store URL.
    """
    from zdd_sdk.rehearsal.faults import parse_fault
    from zdd_sdk.rehearsal.plan import Plan
    from zdd_sdk.store.url import parse_url

    if options.redis_url is not None:
        parse_url(options.redis_url, "--redis-url")
    commands = _commands(options)
    durations: dict[str, Any] = dict(_QUICK) if options.quick else {}
    given = {
        name: getattr(options, name)
        for name in (*_QUICK, "think", "grace", "ready_timeout", "router_lag", "min_ready", "idle")
    }
    durations |= {name: _duration(name, text) for name, text in given.items() if text is not None}
    return Plan(
        strategy=options.strategy,
        router=options.router,
        nginx=_nginx(options.router_option),
        rounds=options.rounds,
        instances=options.instances,
        users=options.users,
        sdk=not options.without_sdk,
        rollback=not options.no_rollback,
        scenario=str(Path(options.scenario).resolve()),
        old=_release(options, "old", commands[0], old),
        new=_release(options, "new", commands[1], new),
        faults=tuple(parse_fault(text) for text in (*options.fault, *_kills(options.kill))),
        redis_url=options.redis_url,
        service=os.environ.get("ZDD_SERVICE", "rehearsal"),
        environment=_environment(options),
        ready_path=options.ready_path,
        seed=options.seed,
        **durations,
    )


def _release_arguments(group: Any) -> None:
    group.add_argument("--old", metavar="CMD", help="command of the release that runs now, with {port}")
    group.add_argument("--new", metavar="CMD", help="command of the release to come, with {port}")
    group.add_argument("--old-ref", default="", metavar="REF", help="check the old release out from this git ref")
    group.add_argument("--new-ref", default="", metavar="REF", help="check the new release out from this git ref")
    group.add_argument("--old-env", action="append", default=[], metavar="K=V", help="environment of the old release")
    group.add_argument("--new-env", action="append", default=[], metavar="K=V", help="environment of the new release")
    for side in ("old", "new"):
        text = f"runs once before the first instance of the {side} release starts, such as a migration"
        group.add_argument(f"--{side}-before", default="", metavar="CMD", help=text)
    group.add_argument("--without-sdk", action="store_true", help="ZDD_MODE=stock: see what is lost without zdd-sdk")
    group.add_argument("--ready-path", default="/readyz", metavar="PATH", help="answers 200 when ready (%(default)s)")
    group.add_argument("--ready-timeout", metavar="TIME", help="an instance may take this long to be ready (30s)")
    group.add_argument("--redis-url", metavar="URL", help="use this Redis; default an engine started for the rehearsal")


def _deployment_arguments(group: Any) -> None:
    group.add_argument("--strategy", choices=_STRATEGIES, default="rolling", help="how to replace (%(default)s)")
    group.add_argument("--router", choices=_ROUTERS, default="kube", help="what stands before (%(default)s)")
    group.add_argument(
        "--router-option", action="append", default=[], metavar="K=V", help="keepalive=0 or max_fails=0, of nginx"
    )
    group.add_argument("--router-lag", metavar="TIME", help="endpoint updates arrive up to this late (1s)")
    group.add_argument("--instances", type=_count, default=3, metavar="N", help="per release (%(default)s)")
    group.add_argument("--grace", metavar="TIME", help="between SIGTERM and SIGKILL (15s)")
    group.add_argument("--min-ready", metavar="TIME", help="a new instance serves this long before the next step (0s)")
    group.add_argument("--step", metavar="TIME", help="a canary holds each weight for this long (4s)")
    group.add_argument("--no-rollback", action="store_true", help="end with the new release")
    group.add_argument(
        "--rounds", type=_count, default=1, metavar="N", help="deploy and roll back so often (%(default)s)"
    )
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="WHAT[@PHASE]",
        help="redis-pause=10s, fleet-flush or kill=1, at the beginning of a phase (settled)",
    )
    group.add_argument(
        "--kill", type=_count, default=0, metavar="N", help="SIGKILL N instances in each phase but the first and last"
    )


def _traffic_arguments(group: Any) -> None:
    group.add_argument("--users", type=_count, default=40, metavar="N", help="virtual users (%(default)s)")
    group.add_argument("--think", metavar="TIME", help="mean pause of a user before each request (300ms)")
    group.add_argument("--idle", metavar="TIME", help="a user closes a connection unused for this long (0s: never)")
    group.add_argument("--warm-up", metavar="TIME", help="traffic before the deployment (4s)")
    group.add_argument("--settled", metavar="TIME", help="traffic between deployment and rollback (4s)")
    group.add_argument("--cool-down", metavar="TIME", help="traffic after the rollback (3s)")
    group.add_argument("--quick", action="store_true", help="shorter phases and canary steps")
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (%(default)s)")


def _commands(options: argparse.Namespace) -> tuple[str, str]:
    old = options.old or options.command or options.new
    new = options.new or options.command or options.old
    if not old:
        message = 'say how the releases are started: "CMD {port}", or --old and --new'
        raise RehearsalError(message)
    for command in (old, new):
        if "{port}" not in command:
            message = f"the command {command!r} has no {{port}}: every instance must listen on a port of its own"
            raise RehearsalError(message)
    return old, new


def _release(options: argparse.Namespace, side: Any, command: str, cwd: Path) -> Any:
    from zdd_sdk.rehearsal.plan import ReleasePlan

    env = _pairs(getattr(options, f"{side}_env"), "environment")
    label, ref, before = _LABELS[side], getattr(options, f"{side}_ref"), getattr(options, f"{side}_before")
    return ReleasePlan(side=side, label=label, command=command, env=env, cwd=str(cwd), ref=ref, before=before)


def _nginx(pairs: Sequence[str]) -> Any:
    import msgspec

    from zdd_sdk.rehearsal.plan import NginxPlan

    try:
        return msgspec.convert(_pairs(pairs, "router option"), NginxPlan, strict=False)
    except msgspec.ValidationError as error:
        message = f"--router-option {', '.join(pairs)}: {error}"
        raise RehearsalError(message) from error


def _pairs(pairs: Sequence[str], kind: str) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, separator, _ in split if not separator or not name]:
        message = f"the {kind} {wrong[0]!r} is not NAME=VALUE"
        raise RehearsalError(message)
    return {name: value for name, _, value in split}


def _environment(options: argparse.Namespace) -> str:
    """The caller's, else one that cannot meet another rehearsal's keys in a shared Redis."""
    own = f"rehearsal-{os.getpid()}" if options.redis_url else "rehearsal"
    return os.environ.get("ZDD_ENVIRONMENT", own)


def _duration(name: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        message = f"--{name.replace('_', '-')}: {error}"
        raise RehearsalError(message) from error


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "must be at least 1"
        raise argparse.ArgumentTypeError(message)
    return number


def _writable(directory: Path) -> Path:
    try:
        (directory / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--out {directory} cannot be written: {error.strerror}"
        raise RehearsalError(message) from error
    return directory


def _title(plan: Any) -> str:
    how = "with zdd-sdk" if plan.sdk else "without zdd-sdk"
    return f"rehearsing {plan.strategy} {how}: {plan.instances} instances, {plan.users} users, router {plan.router}"


def _kills(count: int) -> list[str]:
    return [f"kill={count}@{phase}" for phase in ("deploy", "settled", "rollback")] if count else []
