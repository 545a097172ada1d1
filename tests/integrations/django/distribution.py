"""Django's own session tests, from the source distribution of the version that is installed."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import django

PACKAGE = "sessions_tests"
"""Its name in Django's test tree."""


def fetch(cache: Path) -> Path:
    """Return ``tests/sessions_tests/tests.py``, downloaded once per version; fails loudly without an index."""
    directory = cache / f"django-{django.__version__}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "tests.py").exists():
            _download(directory)
    return directory / "tests.py"


def _download(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", place]
        subprocess.run([sys.executable, "-m", "pip", *words, f"django=={django.__version__}"], check=True, timeout=300)
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            (member,) = [one for one in opened.getmembers() if one.name.endswith(f"/tests/{PACKAGE}/tests.py")]
            source = opened.extractfile(member)
            assert source is not None
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "tests.py").write_bytes(source.read())


def load(path: Path) -> types.ModuleType:
    """Import the tests as they are; the model of one engine that is not tested here is left out."""
    models = types.ModuleType(f"{PACKAGE}.models")
    models.SessionStore = object  # type: ignore[attr-defined]
    sys.modules[models.__name__] = models
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
