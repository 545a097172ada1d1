"""``zdd release show`` and ``zdd release bake``: which release this is, and writing that down at build time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from zdd_sdk.cli.service import read_settings
from zdd_sdk.release import Release, detect_release
from zdd_sdk.release.bake import BAKED_FIELDS, read_git, write_release

__all__ = ["HELP", "arguments", "run"]

HELP = "Show which release this is and where each part of that was learned from, or bake it into a file."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``show`` and ``bake``."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _show_arguments(actions.add_parser("show", help="print each field and its source"))
    _bake_arguments(actions.add_parser("bake", help="write the release into a JSON file, at build time"))


def run(options: argparse.Namespace) -> int:
    """Run the action and return the exit status: 1 if ``--strict`` or ``bake`` found nothing known."""
    return int(options.action(options))


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="exit 1 if both commit and version are unknown")
    parser.add_argument("--distribution", help="installed distribution whose version counts if nothing else says it")
    parser.set_defaults(action=_show)


def _bake_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="file to write (default: option release.file, release.json)")
    for name in BAKED_FIELDS:
        parser.add_argument(f"--{name}", help=f"the {name}, instead of what the environment says")
    parser.add_argument("--git", action="store_true", help="ask git for commit and branch before CI variables")
    parser.add_argument("--distribution", help="installed distribution whose version counts if nothing else says it")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(action=_bake)


def _show(options: argparse.Namespace) -> int:
    loaded = read_settings()
    release = detect_release(
        loaded.values.release,
        loaded.values.environment,
        distribution=options.distribution,
        origins=loaded.origins,
    )
    print(_json(_described(release)) if options.json else _table(release))
    missing = release.version.value is None and release.commit.value is None
    if options.strict and missing:
        print("zdd: neither version nor commit is known", file=sys.stderr)
    return int(options.strict and missing)


def _bake(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in BAKED_FIELDS}
    loaded = read_settings({f"release.{name}": value for name, value in given.items() if value})
    release = detect_release(
        loaded.values.release,
        loaded.values.environment,
        distribution=options.distribution,
        origins=loaded.origins,
        baked=read_git(Path.cwd()) if options.git else {},
    )
    _print_refused(release)
    if not release.identified:
        print("zdd: neither version, commit nor build is known; give --version, --commit or --git", file=sys.stderr)
        return 1
    path = options.output or Path(loaded.values.release.file)
    written = write_release(release, path)
    print(_json(written) if options.json else f"{path}: {release.label}")
    return 0


def _described(release: Release) -> dict[str, Any]:
    fields = {name: {"value": field.value, "source": field.source} for name, field in release.fields().items()}
    return {"id": release.id, "label": release.label, "fields": fields, "refused": list(release.refused)}


def _table(release: Release) -> str:
    width = max(len(field.value or "unknown") for field in release.fields().values())
    lines = [f"release      {release.label}  (id {release.id})"]
    for name, field in release.fields().items():
        lines.append(f"{name:<12} {field.value or 'unknown':<{width}}  {field.source if field.value else ''}".rstrip())
    lines += [f"refused      {sentence}" for sentence in release.refused]
    return "\n".join(lines)


def _print_refused(release: Release) -> None:
    for sentence in release.refused:
        print(f"zdd: refused {sentence}", file=sys.stderr)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
