"""Health and drain of one process: states, checks, the drain flag and the adapters that carry the drain out."""

from zdd_sdk.lifecycle.core import Lifecycle, activate, active
from zdd_sdk.lifecycle.flag import InstanceDirectory, find_instances, instance_root, search_roots, user_root
from zdd_sdk.lifecycle.model import CheckState, Phase, State
from zdd_sdk.lifecycle.serving import begin_serving, on_serve

__all__ = [
    "CheckState",
    "InstanceDirectory",
    "Lifecycle",
    "Phase",
    "State",
    "activate",
    "active",
    "begin_serving",
    "find_instances",
    "instance_root",
    "on_serve",
    "search_roots",
    "user_root",
]
