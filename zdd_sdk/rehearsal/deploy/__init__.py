"""Deployers: one function per strategy."""

from zdd_sdk.rehearsal.deploy.ground import Ground
from zdd_sdk.rehearsal.deploy.strategies import CANARY_STEPS, STRATEGIES

__all__ = ["CANARY_STEPS", "STRATEGIES", "Ground"]
