"""`zdd explain`: every effective option with its origin, the release, and the order of the parts."""

from __future__ import annotations

import argparse
import json

from zdd_sdk.cli.service import add_service, find_service
from zdd_sdk.settings import leaves

__all__ = ["HELP", "ORDER", "arguments", "run"]

HELP = "Print every option with its value and origin, the release, and the order of the parts."

ORDER = (
    "drain",
    "release and trace",
    "session",
    "user's authentication and validation",
    "handler",
    "commit observed",
    "capture",
    "leave (session save)",
    "first byte",
)
"""What happens to a request, in this fixed order."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``zdd explain``."""
    add_service(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--docs", action="store_true", help="say what each option is for")


def run(options: argparse.Namespace) -> int:
    """Print what is in effect here and now."""
    zdd = find_service(options.service)
    rows = [
        {
            "option": leaf.path,
            "value": leaf.show(zdd.loaded.value(leaf)),
            "origin": zdd.loaded.origins[leaf.path],
            "env": leaf.env,
            "doc": leaf.option.doc,
        }
        for leaf in leaves()
    ]
    release = {name: {"value": field.value, "source": field.source} for name, field in zdd.release.fields().items()}
    if options.json:
        print(json.dumps({"options": rows, "release": release, "order": ORDER}, indent=2))
        return 0
    for row in rows:
        print(f"{row['option']:<38} {row['value']:<28} {row['origin']}")
        if options.docs:
            print(f"    {row['env']}: {row['doc']}")
    print()
    for name, field in release.items():
        print(f"release.{name:<30} {field['value'] or '(unknown)':<28} {field['source']}")
    print("\norder: " + " → ".join(ORDER))
    if options.service is None and not zdd.arguments:
        print("\nof environment and file; what your code says is seen with its name: zdd explain shop:zdd")
    return 0
