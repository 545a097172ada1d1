"""Deploy a shop under load and roll it back, with zdd-sdk and without.

``make demo`` does so with FastAPI's shop, ``make shops`` with all three: the same customers, the same scenario,
another framework. Exit status 0 only if nothing was lost with the SDK and the negative control did lose something:
a rehearsal that cannot find a loss proves nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from zdd_sdk.errors import RehearsalError, ZddError
from zdd_sdk.rehearsal.core import rehearse
from zdd_sdk.rehearsal.model import Plan, ReleasePlan, Side, Summary
from zdd_sdk.rehearsal.report import write_report
from zdd_sdk.rehearsal.report.live import make_progress
from zdd_sdk.rehearsal.report.table import side_by_side

EXAMPLES = Path(__file__).parents[1]
OUT = Path("build/rehearsal")
ZDD = Path(sys.executable).with_name("zdd")
UVICORN = f"serve uvicorn --app-dir {EXAMPLES} --host {{host}} --port {{port}} --log-level warning"
GUNICORN = f"serve gunicorn --chdir {EXAMPLES} --bind {{host}}:{{port}} --log-level warning"
SHOPS = {
    "fastapi": f"{UVICORN} shop_fastapi.app:app",
    "django": f"{UVICORN} shop_django.asgi:application",
    "flask": f"{GUNICORN} --worker-class gthread --threads 16 shop_flask.app:app",
}
"""How each is served. In each process sessions of its own are what the control has, so there is one worker."""

BEFORE = {"django": f"{sys.executable} {EXAMPLES}/shop_django/manage.py migrate --verbosity 0"}
"""What a release runs once before its first instance."""

# Endpoints move within a second here, so an instance drains in seconds; in production keep the defaults.
TIMES = {"ZDD_LIFECYCLE_DRAIN_LAG": "2s", "ZDD_LIFECYCLE_LINGER": "500ms", "ZDD_FLEET_PULSE": "1s"}


def plan(*, sdk: bool, shop: str = "fastapi", users: int = 40, seconds: float = 4.0) -> Plan:
    """Return the rehearsal: three instances, replaced one after another, and back.

    Args:
        sdk: with zdd-sdk, or the negative control.
        shop: one of `SHOPS`.
        users: virtual customers, each with one kept-alive connection.
        seconds: of traffic before, between and after the two deployments.
    """
    return Plan(
        strategy="rolling",
        sdk=sdk,
        old=_release("old", "1", shop),
        new=_release("new", "2", shop),
        scenario=str(EXAMPLES / "shop/scenario.py"),
        instances=3,
        users=users,
        think=0.15,
        warm_up=seconds,
        settled=seconds,
        cool_down=seconds,
        service="shop",
    )


def main(shops: Sequence[str] = ("fastapi",), out: Path = OUT) -> int:
    """Rehearse these shops; 0 if each demonstration holds.

    Raises:
        RehearsalError: there is no such shop, or it could not be rehearsed.
    """
    if strangers := sorted(set(shops) - set(SHOPS)):
        message = f"there is no shop {strangers[0]!r}, only {', '.join(SHOPS)}"
        raise RehearsalError(message)
    passed = [demonstrate(shop, out / shop) for shop in shops]
    return 0 if all(passed) else 1


def demonstrate(shop: str, out: Path) -> bool:
    """Rehearse one shop with the SDK and without, print the figures side by side, and judge."""
    console = Console()
    console.rule(f"the shop on {shop}")
    kept = _rehearse(plan(sdk=True, shop=shop), out / "with-sdk", "with zdd-sdk")
    lost = _rehearse(plan(sdk=False, shop=shop), out / "without-sdk", "without")
    console.print(side_by_side(kept, lost))
    for name in ("with-sdk", "without-sdk"):
        console.print(f"{name}: {out / name / 'index.html'}", soft_wrap=True)
    verdict, passed = judge(kept, lost)
    console.print(verdict, style="bold green" if passed else "bold red", soft_wrap=True)
    return passed


def judge(kept: Summary, lost: Summary) -> tuple[str, bool]:
    """Say whether the demonstration holds: nothing lost with the SDK, something without."""
    if not kept.ok:
        return "With zdd-sdk something was lost: see the page, and the logs beside it.", False
    if not lost.failed + lost.lost_logins + lost.lost_fields + lost.duplicates:
        return "Without zdd-sdk nothing was lost either: the rehearsal proves nothing.", False
    return "With zdd-sdk nothing was lost. Without it, the same deployment of the same shop lost what you see.", True


def _release(side: Side, version: str, shop: str) -> ReleasePlan:
    return ReleasePlan(side=side, label=version, command=f"{ZDD} {SHOPS[shop]}", env=TIMES, before=BEFORE.get(shop, ""))


def _rehearse(what: Plan, out: Path, title: str) -> Summary:
    progress = make_progress(sys.stdout, title=title)
    try:
        result, summary = rehearse(what, out, progress)
    finally:
        progress.close()
    write_report(result, summary, out)
    return summary


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ("fastapi",)))
    except ZddError as error:
        sys.exit(f"demo: {error}")
