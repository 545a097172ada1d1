"""The fleet: who is alive, which release each worker runs and what it can read, and whether that is known."""

from zdd_sdk.fleet.member import Fleet
from zdd_sdk.fleet.model import FleetView, InstanceRow, PulsePart, ReleaseRow, WorkerRow

__all__ = ["Fleet", "FleetView", "InstanceRow", "PulsePart", "ReleaseRow", "WorkerRow"]
