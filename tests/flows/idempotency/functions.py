"""What the tests of decorated functions share: a service, and what its functions have done."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zdd_sdk import ZeroDowntime

SECRET = "s" * 40
ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}


class Works:
    """A service with plain functions.

    Attributes:
        zdd: the service.
        done: effects, by what they were for.
    """

    def __init__(self, url: str, **options: Any) -> None:
        given = {"store": ROOMY, "fleet": {"enabled": False}, **options}
        self.zdd = ZeroDowntime("works", environment="test", redis_url=url, secret=(SECRET,), **given)
        self.done: Counter[object] = Counter()

    def idempotent(self, operation: str = "invoices.send", **said: Any) -> Any:
        """Decorate a plain function by its ``key`` parameter, unless told otherwise."""
        said = {"effects": "external", "key": "key", "principal": "anonymous", **said}
        return self.zdd.idempotent(operation=operation, **said)

    def consumer(self, operation: str = "invoices.sent", **said: Any) -> Any:
        """Decorate a message handler by its message's ``id``, unless told otherwise."""
        said = {"effects": "external", "key": "message.id", **said}
        return self.zdd.idempotent_consumer(operation=operation, **said)

    @property
    def live(self) -> int:
        """Claims this process still holds: none once all has ended."""
        return len(self.zdd.idempotency.live)

    @property
    def counters(self) -> Counter[str]:
        """What was decided."""
        return self.zdd.idempotency.counters
