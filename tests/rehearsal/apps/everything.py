"""One user of each fate: an assertion, a mistake, a broken effect, an unexpected status, an expected one."""

from zdd_sdk.rehearsal import RequestFailed, Target, User


async def asserts(user: User) -> None:
    await user.get("/")
    assert user.id < 0, "ids are not negative"


async def errs(user: User) -> None:
    (await user.get("/")).json()["missing"]


async def breaks(user: User) -> None:
    await user.get("/")
    with user.invariant("effect"):
        assert user.id < 0


async def misses(user: User) -> None:
    await user.get("/nothing-here", expect=(404,))
    answer = None
    try:
        await user.get("/nothing-there")
    except RequestFailed as error:
        answer = error.response
    assert answer is None or answer.status == 404, "an unexpected answer is still an answer"


async def audit(target: Target) -> dict[str, int]:
    return {"duplicates": 2}
