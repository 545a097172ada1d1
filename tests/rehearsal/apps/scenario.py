"""Log in, look around, stay logged in. The hooks write down that they ran."""

from pathlib import Path

from zdd_sdk.rehearsal import Target, User


def prepare(directory: Path) -> dict[str, str]:
    return {"PREPARED": str(directory)}


async def setup(target: Target) -> None:
    assert (await target.get("/")).json()["release"] == "1"


async def visitor(user: User) -> None:
    if "name" not in user.state:
        name = f"user-{user.id}"
        await user.post("/login", json={"user": name})
        user.state["name"] = name
    await user.get("/")
    found = (await user.get("/me")).json()
    with user.invariant("login"):
        assert found["user"] == user.state["name"], f"{user.state['name']} is {found['user']}"


async def audit(target: Target) -> dict[str, int]:
    return {"duplicates": 0, "asked": (await target.get("/")).status}
