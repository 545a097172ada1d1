"""Ask the tests that failed beside others once more, each alone: ``make test`` calls it after a run that failed.

Thousands of tests with real servers share two cores; now and then one of them hears nothing in time. What is broken
fails again. What passes alone is named all the same, so that somebody looks at it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST = 5
"""With more than these it is no coincidence."""


def main() -> int:
    """Return 0 if the few that failed pass alone."""
    names = list(json.loads(FAILED.read_text("utf-8"))) if FAILED.exists() else []
    if not 0 < len(names) <= MOST:
        return 1
    print("\nfailed beside others, and asked again alone:", *names, sep="\n  ", flush=True)
    words = [sys.executable, "-m", "pytest", "--last-failed", "--last-failed-no-failures", "none"]
    return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
