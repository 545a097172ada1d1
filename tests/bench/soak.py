"""Rehearse the shop again and again: every strategy ten times in a row, with a control that must lose.

    make soak                                     # rolling, blue-green and canary, 10 runs each: 25 minutes
    make soak ARGS="--runs 3 --router nginx"      # behind nginx without active checks
    make soak ARGS="--fault redis-pause=10s"      # with Redis frozen for 10 s in the middle

Prints one line per rehearsal and exits 1 if a run with the SDK lost anything, or a control lost nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

sys.path.append(str(Path(__file__).parents[2] / "docs" / "examples"))

from shop import demo
from zdd_sdk.rehearsal.core import rehearse
from zdd_sdk.rehearsal.faults import parse_fault
from zdd_sdk.rehearsal.model import Plan, Summary
from zdd_sdk.rehearsal.report import write_report
from zdd_sdk.rehearsal.report.live import make_progress

COLUMNS = ("failed", "lost_logins", "lost_fields", "duplicates", "longest_gap_ms", "requests")


def plan(options: argparse.Namespace, strategy: str, *, sdk: bool, seed: int) -> Plan:
    faults = tuple(parse_fault(text) for text in options.fault)
    return msgspec.structs.replace(
        demo.plan(sdk=sdk, users=40, seconds=3.0),
        strategy=strategy,
        router=options.router,
        faults=faults,
        seed=seed,
        settled=14.0 if faults else 3.0,
        step=2.5,
    )


def rehearse_once(what: Plan, out: Path) -> Summary:
    progress = make_progress(open("/dev/null", "w"), title="")  # noqa: SIM115, PTH123 - quiet
    try:
        result, summary = rehearse(what, out, progress)
    finally:
        progress.close()
    write_report(result, summary, out)
    return summary


def show(name: str, summary: Summary) -> None:
    figures = "".join(f"{getattr(summary, column):>16,.0f}" for column in COLUMNS)
    print(f"{name:<28}{figures}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--router", choices=("kube", "nginx"), default="kube")
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("strategies", nargs="*", default=["rolling", "blue-green", "canary"])
    options = parser.parse_args()
    out, broken = Path("build/soak"), 0
    print(f"{'':<28}" + "".join(f"{column:>16}" for column in COLUMNS))
    for strategy in options.strategies:
        for run in range(1, options.runs + 1):
            name = f"{strategy} {run}"
            summary = rehearse_once(plan(options, strategy, sdk=True, seed=run), out / name.replace(" ", "-"))
            show(name, summary)
            broken += not summary.ok
        if not options.no_control:
            lost = rehearse_once(plan(options, strategy, sdk=False, seed=1), out / f"{strategy}-control")
            show(f"{strategy} without zdd", lost)
            broken += lost.ok
    print(f"{broken} rehearsals did not show what they should" if broken else "every rehearsal showed what it should")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
