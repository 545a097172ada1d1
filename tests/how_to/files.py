"""The files of ``docs/how-to/files`` as the tests read them."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import Any

import yaml

FILES = Path("docs/how-to/files").resolve()


def env_file(text: str) -> dict[str, str]:
    """Variables of a file that a shell or systemd reads."""
    pairs = (line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z_]+=", line))
    return {name: value.strip('"') for name, value in pairs}


def unit(text: str) -> dict[str, str]:
    """Directives of a systemd unit, the last of each name."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def nginx(site: str, directory: Path, *, shop: Path, port: int) -> Path:
    """Write a whole configuration around a site's, which listens on loopback, and return its path."""
    text = (FILES / site).read_text("utf-8").replace("/srv/shop", str(shop)).replace("listen 80;", f"listen {port};")
    head = f"pid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
    if os.geteuid() == 0:
        head = f"user {pwd.getpwuid(0).pw_name};\n{head}"
    path = directory / "nginx.conf"
    path.write_text(f"{head}http {{\naccess_log off;\n{text}\n}}\n", "utf-8")
    return path


def manifest(kind: str) -> dict[str, Any]:
    """One document of the Kubernetes manifest."""
    documents = yaml.safe_load_all((FILES / "kubernetes/shop.yaml").read_text("utf-8"))
    return next(document for document in documents if document["kind"] == kind)


def compose() -> dict[str, Any]:
    """The compose file."""
    return dict(yaml.safe_load((FILES / "compose/compose.yaml").read_text("utf-8")))
