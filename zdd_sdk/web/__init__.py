"""The exchange: how the parts take part in a request, on ASGI and on WSGI."""

from zdd_sdk.web.asgi import ExchangeHalf, ProblemHalf, send_answer
from zdd_sdk.web.inner import InnerHalf
from zdd_sdk.web.leave import leave, merge_headers, merge_text_headers
from zdd_sdk.web.lifespan import LifespanHalf
from zdd_sdk.web.service import ServiceHalf
from zdd_sdk.web.websocket import SERVICE_RESTART, TRY_AGAIN_LATER, WebSocketHalf
from zdd_sdk.web.wsgi import WsgiServiceHalf, environ_exchange

__all__ = [
    "SERVICE_RESTART",
    "TRY_AGAIN_LATER",
    "ExchangeHalf",
    "InnerHalf",
    "LifespanHalf",
    "ProblemHalf",
    "ServiceHalf",
    "WebSocketHalf",
    "WsgiServiceHalf",
    "environ_exchange",
    "leave",
    "merge_headers",
    "merge_text_headers",
    "send_answer",
]
