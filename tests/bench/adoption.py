"""Take over the sessions of every framework and give them back, with users on all releases at once.

    make adoption                                          # 1,000 users, every source: 30 minutes on 2 cores
    make adoption ARGS="--users 100 --source flask"        # only sources whose name begins so

Real servers (uvicorn, gunicorn) in processes of their own, one per release: stock, mirror, lead, final. The users'
client is the router: each request goes to a release picked at random among those that serve, two at a time for a
fifth of the changes where all of them have the SDK. Prints one line per source and exits 1 if anything was lost, or
if the control, a take-over on first read, has lost nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.adoption.journey import DEPLOYMENTS, ONE_WAY, SOURCES, Losses, serving, travel
from zdd_sdk.store.engine import start_engine

COLUMNS = ("requests", "failed", "logouts", "fields", "undone")


def show(name: str, losses: Losses, seconds: float) -> None:
    """Print one line."""
    figures = "".join(f"{getattr(losses, column):>10,}" for column in COLUMNS)
    print(f"{name:<42}{figures}{seconds:>9.0f} s", flush=True)


def journey(source: str, deployments: Sequence[Sequence[str]], options: argparse.Namespace) -> tuple[Losses, float]:
    """Run one journey on fresh stores."""
    releases = tuple(dict.fromkeys(release for serving_now in deployments for release in serving_now))
    begun = time.monotonic()
    with start_engine("real") as ours, start_engine("real") as legacy, tempfile.TemporaryDirectory() as directory:
        with serving(source, Path(directory), ours.url, legacy.url, releases) as ports:
            losses = travel(ports, deployments, users=options.users, requests=options.requests, seed=options.seed)
        if losses.failed:
            print((Path(directory) / "servers.log").read_text()[-2000:], file=sys.stderr)
    return losses, time.monotonic() - begun


def main() -> int:
    """Run every journey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=2, help="per user and deployment")
    parser.add_argument("--source", default="", help="only sources whose name begins with this")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{'source':<42}" + "".join(f"{column:>10}" for column in COLUMNS))
    bad = False
    for source in (name for name in SOURCES if name.startswith(options.source)):
        losses, seconds = journey(source, DEPLOYMENTS, options)
        show(source, losses, seconds)
        control, seconds = journey(source, ONE_WAY, options)
        show(f"  control: {source}, one-way", control, seconds)
        bad |= losses.any or not control.any
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())
