"""zdd-sdk in FastAPI and Starlette: one middleware, and the session as a dependency.

app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)

@app.get("/me")
async def me(session: UserSession) -> dict[str, str | None]:
    return {"user": session.user}
"""

from zdd_sdk.errors import MissingExtra

try:
    import fastapi as _fastapi  # noqa: F401 - only to say what is missing
except ImportError as error:
    _missing = MissingExtra("zdd_fastapi", "fastapi")
    raise _missing from error

from zdd_fastapi.dependencies import LazySession, Typed, UserSession, lazy_session, user_session
from zdd_fastapi.middleware import ZddMiddleware

__all__ = ["LazySession", "Typed", "UserSession", "ZddMiddleware", "lazy_session", "user_session"]
