"""Only look."""

from zdd_sdk.rehearsal import User


async def visitor(user: User) -> None:
    await user.get("/", label="front page")
