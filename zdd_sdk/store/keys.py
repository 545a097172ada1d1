"""Names of keys: ``zdd:<service>:<environment>:<part>:…``, braces only around a record's own id."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Keys"]


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds every key name of one service in one environment.

    Attributes:
        service: name of the service, from explicit settings.
        environment: name of the environment, from explicit settings.
    """

    service: str
    environment: str

    def name(self, part: str, tag: str, *rest: str) -> str:
        """Return ``zdd:<service>:<environment>:<part>:{<tag>}[:rest…]``; all keys of one tag share a slot."""
        return ":".join((f"zdd:{self.service}:{self.environment}:{part}:{{{tag}}}", *rest))
