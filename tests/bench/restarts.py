"""Restart every supported server again and again under load, with its adapter and without, and count what fails.

    make restarts                                                # all servers, 20 rolling restarts per router: hours
    make restarts ARGS="--servers uvicorn,gunicorn-sync --rounds 4 --stock-rounds 2"

40 clients in a closed loop send POSTs without a pause, through three routers: a real nginx without active checks that
is never told of a restart, with kept-alive upstream connections and without (instances restart in place), and a
Kubernetes Service (rolling: one more, then one less). The stock server goes through the same, as the negative control.
Exits 1 if a request failed with an adapter, or the stock server of the same kind lost nothing in any of the routers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zdd_sdk.rehearsal.core import rehearse
from zdd_sdk.rehearsal.model import Plan, ReleasePlan, Side, Summary
from zdd_sdk.rehearsal.plan import NginxPlan
from zdd_sdk.rehearsal.report import write_report
from zdd_sdk.rehearsal.report.live import make_progress

APPS = Path(__file__).parents[1] / "rehearsal" / "apps"
BIN = Path(sys.executable).parent
OUT = Path("build/restarts")
TIMES = {
    "ZDD_LIFECYCLE_DRAIN_LAG": "1s",
    "ZDD_LIFECYCLE_LINGER": "1s",
    "ZDD_LIFECYCLE_DRAIN_TIMEOUT": "5s",
    "ZDD_LIFECYCLE_HOOKS_TIMEOUT": "2s",
}


@dataclass(frozen=True)
class Server:
    """How a server is started.

    Attributes:
        name: of ``zdd serve``, and of its own command.
        words: arguments of both.
    """

    name: str
    words: str

    def command(self, *, sdk: bool) -> str:
        """Return the command of one instance, with the adapter or as its maker ships it."""
        return f"{BIN / 'zdd'} serve {self.name} {self.words}" if sdk else f"{BIN / self.name} {self.words}"


KEPT = 75
"""Seconds a server keeps an idle connection: longer than nginx does (60), or it fails on any day, restart or not."""


def _uvicorn(more: str = "") -> Server:
    words = f"--app-dir {APPS} --port {{port}} --timeout-keep-alive {KEPT} --log-level warning --no-access-log {more}"
    return Server("uvicorn", f"{words} answer:asgi")


def _gunicorn(application: str, worker: str, more: str = "") -> Server:
    words = f"--bind 127.0.0.1:{{port}} --chdir {APPS} --keep-alive {KEPT} --worker-class {worker}"
    return Server("gunicorn", f"{words} --log-level warning {more} {application}")


def _hypercorn(application: str) -> Server:
    return Server(
        "hypercorn", f"--bind 127.0.0.1:{{port}} --keep-alive {KEPT} --log-level warning {APPS}/{application}"
    )


def _granian(application: str, interface: str) -> Server:
    words = f"--working-dir {APPS} --interface {interface} --port {{port}} --log-level warning"
    return Server("granian", f"{words} {application}")


SERVERS = {
    "uvicorn": _uvicorn(),
    "uvicorn-h11": _uvicorn("--http h11"),
    "uvicorn-workers": _uvicorn("--workers 2"),
    "gunicorn-sync": _gunicorn("answer:wsgi", "sync", "--workers 4"),
    "gunicorn-gthread": _gunicorn("answer:wsgi", "gthread", "--workers 2 --threads 8"),
    "gunicorn-asgi": _gunicorn("answer:asgi", "asgi"),
    "gunicorn-gevent": _gunicorn("answer:wsgi", "gevent"),
    "gunicorn-uvicorn": _gunicorn("answer:asgi", "uvicorn_worker.UvicornWorker"),
    "hypercorn": _hypercorn("answer:asgi"),
    "granian-asgi": _granian("answer:asgi", "asgi"),
    "granian-wsgi": _granian("answer:wsgi", "wsgi"),
}

ROUTERS = ("nginx keep-alive", "nginx no keep-alive", "kube")


def plan(server: Server, router: str, *, sdk: bool, rounds: int, users: int = 40, seconds: float = 3.0) -> Plan:
    """Return the rehearsal of so many rolling restarts, each of all instances.

    Behind nginx a server that was found stopped gets nothing for ten seconds (``fail_timeout``): a fleet of four whose
    instances restart less than three seconds apart has nobody left, and nginx answers 502 by itself. So that what fails
    is the servers' doing, each new instance serves for a while before the next is stopped.
    """
    kube = router == "kube"
    return Plan(
        strategy="rolling" if kube else "in-place",
        router="kube" if kube else "nginx-static",
        nginx=NginxPlan(keepalive=0 if router == "nginx no keep-alive" else 64),
        old=_release("old", server, sdk=sdk),
        new=_release("new", server, sdk=sdk),
        scenario=str(APPS / "post.py"),
        instances=3 if kube else 4,
        router_lag=0.5,
        min_ready=0.0 if kube else 2.5 if sdk else 3.5,
        users=users,
        think=0.0,
        warm_up=seconds,
        settled=0.0,
        cool_down=0.0,
        rounds=max(1, rounds // 2),
        rollback=rounds > 1,
    )


def _release(side: Side, server: Server, *, sdk: bool) -> ReleasePlan:
    return ReleasePlan(side=side, label=side, command=server.command(sdk=sdk), env=TIMES)


def measure(server: str, router: str, *, sdk: bool, rounds: int) -> Summary:
    """Carry one rehearsal out, quietly, and keep its report."""
    what = plan(SERVERS[server], router, sdk=sdk, rounds=rounds)
    out = OUT / f"{server}-{router}-{'zdd' if sdk else 'stock'}".replace(" ", "-")
    progress = make_progress(open("/dev/null", "w"), title="")  # noqa: SIM115, PTH123 - quiet
    try:
        result, summary = rehearse(what, out, progress)
    finally:
        progress.close()
    write_report(result, summary, out)
    return summary


HEAD = (
    f"{'server':<18}{'router':<21}{'':<7}{'restarts':>9}{'requests':>10}{'failed':>8}  {'kinds':<40}{'longest gap':>12}"
)


def row(server: str, router: str, *, sdk: bool, rounds: int, summary: Summary) -> str:
    """Return a line of the table."""
    kinds = ", ".join(f"{name} {count}" for name, count in summary.failures.items())
    kinds += f" killed {summary.killed}" * bool(summary.killed) + f" wrong {summary.duplicates}" * bool(
        summary.duplicates
    )
    figures = f"{rounds:>9}{summary.requests:>10,}{summary.failed:>8,}  {kinds or '–':<40}"
    return f"{server:<18}{router:<21}{'zdd' if sdk else 'stock':<7}{figures}{f'{summary.longest_gap_ms:,.0f} ms':>12}"


def judge(kept: Iterable[Summary], lost: Sequence[Summary]) -> bool:
    """Say whether a server is what we claim: nothing lost with the adapter, something without, if that was tried."""
    return all(summary.ok for summary in kept) and (not lost or any(summary.failed for summary in lost))


def try_server(name: str, options: argparse.Namespace) -> bool:
    """Measure one server in every router, print the lines, and judge."""
    found: dict[bool, list[Summary]] = {True: [], False: []}
    for router in options.routers:
        for sdk, rounds in ((True, options.rounds), (False, options.stock_rounds)):
            if rounds:
                summary = measure(name, router, sdk=sdk, rounds=rounds)
                found[sdk].append(summary)
                print(row(name, router, sdk=sdk, rounds=rounds, summary=summary), flush=True)
    return judge(found[True], found[False])


def _names(known: Iterable[str]) -> type:
    known = tuple(known)

    def read(text: str) -> list[str]:
        names = text.split(",")
        if strangers := [name for name in names if name not in known]:
            message = f"{strangers[0]} is none of {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    return read  # type: ignore[return-value]


def main(words: Sequence[str] | None = None) -> int:
    """Measure what was asked for; 0 if every server is what we claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=_names(SERVERS), default=list(SERVERS), metavar="A,B")
    parser.add_argument("--routers", type=_names(ROUTERS), default=list(ROUTERS), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="rolling restarts; 1 or even (20)")
    parser.add_argument("--stock-rounds", type=int, default=4, metavar="N", help="of the stock server; 0: none (4)")
    options = parser.parse_args(words)
    print(HEAD)
    wrong = [name for name in options.servers if not try_server(name, options)]
    print(f"not as claimed: {', '.join(wrong)}" if wrong else "every server is what we claim")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
