"""What every router can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from zdd_sdk.rehearsal.client import RawResponse

__all__ = ["Backend", "Router"]


class Backend(msgspec.Struct, frozen=True):
    """Where a connection goes.

    Attributes:
        id: of the instance, empty if a proxy decides later.
        release: its side.
        host, port: of the listener.
        weight: share of new connections relative to the other backends.
    """

    id: str = ""
    release: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    weight: float = 1.0


class Router(Protocol):
    """Sends each new connection to one of the published backends, which it learns of late.

    Attributes:
        lifetime: requests after which a client gives up its connection, 0 for never. A canary sets it, because
            weights move traffic only as connections are made (Envoy's ``max_requests_per_connection``).
    """

    lifetime: int

    async def start(self, backends: Sequence[Backend]) -> None:
        """Begin with these; they are known at once."""

    def publish(self, backends: Sequence[Backend]) -> None:
        """From now on these, as soon as word gets round."""

    def choose(self, user: int) -> Backend | None:
        """Where a new connection of this user goes; ``None`` if nobody is there."""

    def origin(self, raw: RawResponse, backend: Backend) -> Backend:
        """Which backend answered."""
        ...

    def stop(self) -> None:
        """End everything that was started."""
