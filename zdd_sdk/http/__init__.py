"""HTTP without a framework: cookies, problem+json and the exchange every part shares."""

from zdd_sdk.http.cookies import cookie_values, delete_cookie, set_cookie
from zdd_sdk.http.exchange import Exchange, Hold, Participant, Surface, current_exchange, exchange_variable
from zdd_sdk.http.problem import Answer, problem, problem_of

__all__ = [
    "Answer",
    "Exchange",
    "Hold",
    "Participant",
    "Surface",
    "cookie_values",
    "current_exchange",
    "delete_cookie",
    "exchange_variable",
    "problem",
    "problem_of",
    "set_cookie",
]
