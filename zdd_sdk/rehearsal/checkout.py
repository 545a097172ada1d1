"""A git ref in a directory of its own, removed afterwards."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zdd_sdk.errors import RehearsalError

__all__ = ["checked_out"]


@contextlib.contextmanager
def checked_out(ref: str, *, caller: Path) -> Iterator[Path]:
    """Check ``ref`` out beside the caller's repository and yield the directory that corresponds to the caller's.

    Uses ``git worktree add --detach``, so the caller's own files and branch stay as they are.

    Args:
        ref: a commit, tag or branch.
        caller: a directory inside the repository.

    Raises:
        RehearsalError: not a repository, no such ref, or that commit has no such directory.
    """
    root = Path(_git(caller, "rev-parse", "--show-toplevel"))
    commit = _commit(caller, ref)
    folder = Path(tempfile.mkdtemp(prefix="zdd-worktree-"))
    tree = folder / root.name
    try:
        _git(root, "worktree", "add", "--detach", "--force", str(tree), commit)
        place = tree / caller.resolve().relative_to(root.resolve())
        if not place.is_dir():
            message = f"{ref} has no directory {caller.name}"
            raise RehearsalError(message)
        yield place
    finally:
        with contextlib.suppress(RehearsalError):
            _git(root, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(RehearsalError):
            _git(root, "worktree", "prune")


def _commit(caller: Path, ref: str) -> str:
    try:
        return _git(caller, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    except RehearsalError as error:
        message = f"git knows no commit {ref!r} here (for --old-ref or --new-ref)"
        raise RehearsalError(message) from error


def _git(directory: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ("git", "-C", str(directory), *words),  # noqa: S607 — the caller's own git
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        )
    except FileNotFoundError:
        message = "--old-ref and --new-ref need the program git on PATH"
        raise RehearsalError(message) from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (getattr(error, "stderr", "") or "").strip()
        message = f"git {' '.join(words[:2])} failed: {said}"
        raise RehearsalError(message) from error
    return done.stdout.strip()
