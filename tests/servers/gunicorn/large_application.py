"""An application whose answer does not fit into any socket's buffer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PIECES = 200
PIECE = b"x" * 1_000_000


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with 200 MB at ``/large``."""
    count = PIECES if environ["PATH_INFO"] == "/large" else 0
    start_response("200 OK", [("Content-Length", str(count * len(PIECE)))])
    return (PIECE for _ in range(count))
