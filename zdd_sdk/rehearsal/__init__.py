"""A real deployment, run under load before the real one: ``zdd rehearse``.

A scenario file imports its names from here; see ``docs/rehearsal.md``.
"""

from zdd_sdk.rehearsal.scenario import weight
from zdd_sdk.rehearsal.target import Target
from zdd_sdk.rehearsal.user import RequestFailed, Response, User

__all__ = ["RequestFailed", "Response", "Target", "User", "weight"]
