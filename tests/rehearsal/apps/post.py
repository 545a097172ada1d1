"""Send one POST after the other, and look whether each was answered with what it carried."""

from zdd_sdk.rehearsal import User


async def poster(user: User) -> None:
    body = f"order-{user.id}-{user.random.getrandbits(32)}"
    answer = await user.post("/orders", data=body.encode())
    with user.invariant("effect"):
        assert answer.text == body
