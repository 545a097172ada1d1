"""Sessions that outlive the process: one hash each in Redis, saved field by field, shared by releases."""

from zdd_sdk.sessions.core import Sessions
from zdd_sdk.sessions.devices import Device
from zdd_sdk.sessions.keeper import Keeper
from zdd_sdk.sessions.merge import Add, Append, CompareAndSet, Union
from zdd_sdk.sessions.reader import SessionReader
from zdd_sdk.sessions.session import Session

__all__ = ["Add", "Append", "CompareAndSet", "Device", "Keeper", "Session", "SessionReader", "Sessions", "Union"]
