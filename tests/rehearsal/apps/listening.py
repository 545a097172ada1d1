"""Listen to a stream for longer than a deployment takes; what ends it early must end it well."""

from zdd_sdk.rehearsal import User


async def listener(user: User) -> None:
    heard = await user.listen("/events", 60.0)
    assert heard.body.startswith(b"data: tick\n\n")
    if heard.release == "old":
        assert b"retry: " in heard.body, "the server says when to come back"
