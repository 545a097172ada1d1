"""Log in, look around, stay logged in."""

from zdd_sdk.rehearsal import User


async def visitor(user: User) -> None:
    if "name" not in user.state:
        name = f"user-{user.id}"
        await user.post("/login", json={"user": name})
        user.state["name"] = name
    await user.get("/")
    found = (await user.get("/me")).json()
    with user.invariant("login"):
        assert found["user"] == user.state["name"], f"{user.state['name']} is {found['user']}"
