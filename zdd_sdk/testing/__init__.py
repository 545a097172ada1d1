"""Testing with zdd-sdk: an engine per session, a clock that can be turned, a client that keeps our cookie.

The pytest plugin (`zdd_sdk.testing.plugin`) gives the fixtures ``zdd_engine``, ``zdd_clock`` and
``zdd_client``. `RespTap` counts round trips and injects faults.
"""

from zdd_sdk.testing.tap import RespTap

__all__ = ["RespTap"]
