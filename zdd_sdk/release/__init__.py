"""Which release is this process: version, commit, build, branch, deployment, environment, each with its source.

`zdd_sdk.release.bake` writes the record into a file at build time; it is imported only by ``zdd release bake``.
"""

from zdd_sdk.release.detect import detect_release
from zdd_sdk.release.model import FIELDS, SEMCONV, Field, Release
from zdd_sdk.release.platforms import PLATFORM_VARIABLES

__all__ = ["FIELDS", "PLATFORM_VARIABLES", "SEMCONV", "Field", "Release", "detect_release"]
