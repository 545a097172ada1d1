"""zdd-sdk in Flask: one extension, and ``flask.session`` kept in Redis.

app = Flask(__name__)
Zdd(app, service="shop")

@app.post("/login")
def login():
    current_session().login(request.form["user"])
    session["theme"] = "dark"
"""

from zdd_sdk.errors import MissingExtra

try:
    import flask as _flask  # noqa: F401 - only to say what is missing
except ImportError as error:
    _missing = MissingExtra("zdd_flask", "flask")
    raise _missing from error

from zdd_flask.extension import Zdd
from zdd_flask.interface import ZddNullSession, ZddSessionInterface
from zdd_flask.session import ZddSession, current_session

__all__ = ["Zdd", "ZddNullSession", "ZddSession", "ZddSessionInterface", "current_session"]
