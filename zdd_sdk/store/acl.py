"""The least a Redis user needs, as one ACL line (``zdd doctor --acl``). The tests run under it."""

from __future__ import annotations

__all__ = ["COMMANDS", "DURABLE", "acl_line"]

COMMANDS = (
    # what our scripts and calls run
    "del", "evalsha", "eval", "exists", "get", "hdel", "hget", "hgetall", "hincrby", "hlen", "hmget", "hset",
    "pexpire", "pttl", "rename", "set", "time", "zadd", "zcard", "zrange", "zrangebyscore", "unlink", "zrem",
    # connections, blocking calls and listening
    "auth", "asking", "select", "ping", "script|load", "blpop", "subscribe", "unsubscribe",
    # finding nodes, and what `zdd doctor` asks
    "cluster|slots", "cluster|shards", "info",
)  # fmt: skip
"""Every command zdd-sdk sends, or runs inside a script; scripts are checked against the caller's ACL, too."""

DURABLE = {"replica": ("wait",), "aof": ("waitaof",)}
"""What ``idempotency.durability`` needs beside; a Redis that does not know a command refuses the whole line."""


def acl_line(
    service: str, environment: str, *, user: str = "zdd", password: str | None = None, durability: str = "none"
) -> str:
    """Return the line for ``ACL SETUSER`` or an ACL file.

    Args:
        service: names the keys the user may touch.
        environment: names them, too.
        user: name of the user.
        password: in clear text; default a placeholder.
        durability: ``idempotency.durability``.
    """
    allowed = " ".join(f"+{command}" for command in (*COMMANDS, *DURABLE.get(durability, ())))
    keys = f"~zdd:{service}:{environment}:* &zdd:{service}:{environment}:*"
    return f"user {user} on >{password or 'PASSWORD'} resetchannels {keys} -@all {allowed}"
