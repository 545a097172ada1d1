"""The exchange: how the parts take part in a request, on ASGI."""

from zdd_sdk.web.asgi import ExchangeHalf, InnerHalf, send_answer
from zdd_sdk.web.leave import leave, merge_headers
from zdd_sdk.web.lifespan import LifespanHalf
from zdd_sdk.web.websocket import SERVICE_RESTART, WebSocketHalf

__all__ = [
    "SERVICE_RESTART",
    "ExchangeHalf",
    "InnerHalf",
    "LifespanHalf",
    "WebSocketHalf",
    "leave",
    "merge_headers",
    "send_answer",
]
