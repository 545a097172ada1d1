"""Every option, in one struct per part: its type, unit, default and what it is for.

The environment name of an option is ``ZDD_<PART>_<OPTION>`` (``ZDD_SESSIONS_IDLE_TIMEOUT``), except
where an `Option` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

__all__ = [
    "FleetSettings",
    "IdempotencySettings",
    "LifecycleSettings",
    "Option",
    "Part",
    "ReleaseSettings",
    "SessionSettings",
    "Settings",
    "StoreSettings",
]


@dataclass(frozen=True, slots=True)
class Option:
    """What an option is for, how people write it and where it may come from.

    Attributes:
        doc: one sentence, shown by ``zdd explain`` and in the reference.
        unit: ``"duration"`` (seconds, written ``"15s"``), ``"size"`` (bytes, ``"64KiB"``) or none.
        env: the environment variable, if not the derived one.
        secret: the value is never printed, published or fingerprinted.
        least: smallest number it can be, in seconds, bytes or as it is.
        most: largest number it can be.
    """

    doc: str
    unit: Literal["duration", "size", ""] = ""
    env: str = ""
    secret: bool = False
    least: float | None = None
    most: float | None = None


_TICK = 0.001
"""Seconds: with less, nothing that is waited for could ever come."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the option structs."""


class StoreSettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Redis is reached and how long anything may wait for it."""

    redis_url: Annotated[
        str | None,
        Option(
            "Redis for sessions, claims, tokens and fleet; must not evict. Unset: embedded in development, "
            "refused in production; `off`: no store.",
            env="ZDD_REDIS_URL",
            secret=True,
        ),
    ] = None
    cache_redis_url: Annotated[
        str | None,
        Option("Redis for caches and distributions; may evict.", env="ZDD_CACHE_REDIS_URL", secret=True),
    ] = None
    connect_timeout: Annotated[
        float, Option("One connection attempt, name resolution included.", "duration", least=_TICK)
    ] = 0.2
    operation_timeout: Annotated[float, Option("One round trip.", "duration", least=_TICK)] = 0.2
    total_timeout: Annotated[
        float,
        Option(
            "Everything one ask may take: waiting for a connection, connecting, sending, again.",
            "duration",
            least=_TICK,
        ),
    ] = 0.5
    pool_size: Annotated[
        int, Option("Connections per process (blocking) or per event loop (asyncio).", least=1, most=10_000)
    ] = 32
    ca_file: Annotated[str | None, Option("CA bundle (PEM file) for rediss://.")] = None


class ReleaseSettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which release this is, where the platform does not say."""

    version: Annotated[str | None, Option("Version of the application.")] = None
    commit: Annotated[str | None, Option("Commit hash.")] = None
    build: Annotated[str | None, Option("Build number.")] = None
    branch: Annotated[str | None, Option("Branch or tag.")] = None
    deployment: Annotated[str | None, Option("Identifier of this deployment.")] = None
    file: Annotated[str, Option("The record baked by `zdd release bake`.")] = "release.json"
    distribution: Annotated[
        str | None, Option("Installed distribution whose version this is, if nothing else says it.")
    ] = None


class FleetSettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry of live workers."""

    enabled: Annotated[bool, Option("Send a pulse and learn who else is alive.")] = True
    role: Annotated[
        Literal["auto", "web", "worker", "beat", "job", "shell", "test"],
        Option("What this process does; `shell` and `test` never pulse. `auto`: web, unless a shell or under pytest."),
    ] = "auto"
    pulse: Annotated[
        float, Option("Interval between pulses; each is up to 20 % earlier, at random.", "duration", least=0.01)
    ] = 2.0
    ttl: Annotated[float, Option("A worker unheard of for this long is gone.", "duration")] = 10.0
    pulse_mode: Annotated[
        Literal["thread", "request"],
        Option("`request` where the CPU is frozen between requests (some serverless platforms)."),
    ] = "thread"


class LifecycleSettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Health and drain. The defaults of the drain add up to 29 s, inside the usual 30 s of grace."""

    drain_lag: Annotated[
        float, Option("Keep serving after the drain began, until every router has stopped sending.", "duration")
    ] = 10.0
    linger: Annotated[float, Option("Answer kept-alive connections after the listener is closed.", "duration")] = 2.0
    drain_timeout: Annotated[float, Option("Wait for requests in flight.", "duration")] = 12.0
    hooks_timeout: Annotated[float, Option("Wait for shutdown hooks, flushes and the goodbye pulse.", "duration")] = 3.0
    grace_period: Annotated[
        float,
        Option("What the platform gives between SIGTERM and SIGKILL (terminationGracePeriodSeconds).", "duration"),
    ] = 30.0
    readyz_while_terminating: Annotated[
        Literal["fail", "serve", "auto"],
        Option("Readiness while draining: `serve` on Kubernetes, `fail` elsewhere; `auto` looks."),
    ] = "auto"
    check_interval: Annotated[
        float, Option("How often dependency checks run, in the background.", "duration", least=0.1)
    ] = 5.0
    check_timeout: Annotated[float, Option("One dependency check.", "duration", least=_TICK)] = 1.0
    run_dir: Annotated[
        str | None, Option("Where the workers of an instance share the drain flag; default in the temporary directory.")
    ] = None
    instance: Annotated[
        str | None, Option("Name of this instance; default host name and process id of the master.", env="ZDD_INSTANCE")
    ] = None
    proxy_idle_timeout: Annotated[
        float | None,
        Option(
            "How long the proxy in front keeps idle connections; warns if the server closes them first.", "duration"
        ),
    ] = None
    agent_port: Annotated[
        int | None, Option("TCP port for HAProxy's agent-check, on all interfaces, one per instance.", least=1)
    ] = None
    health_prefix: Annotated[str, Option("Path before `/livez`, `/readyz` and `/startupz`.")] = ""


class SessionSettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions outside the process."""

    enabled: Annotated[bool, Option("Load and save sessions.")] = True
    cookie_name: Annotated[str, Option("Name without its `__Host-` or `__Secure-` prefix, which is added.")] = (
        "zdd_session"
    )
    cookie_domain: Annotated[str | None, Option("Domain attribute; the prefix becomes `__Secure-`.")] = None
    cookie_path: Annotated[str, Option("Path attribute; anything but `/` makes the prefix `__Secure-`.")] = "/"
    same_site: Annotated[Literal["Lax", "Strict", "None"], Option("SameSite attribute.")] = "Lax"
    insecure: Annotated[
        bool | None,
        Option("Plain name without Secure. Unset: only for http on a loopback or test host, said once."),
    ] = None
    idle_timeout: Annotated[float, Option("A session unused for this long ends.", "duration")] = 14 * 86400.0
    absolute_timeout: Annotated[float, Option("A session ends this long after it began.", "duration")] = 30 * 86400.0
    login_grace: Annotated[
        float, Option("How long the id of before a login still reads its pre-login snapshot (0 to 120 s).", "duration")
    ] = 30.0
    rotate_every: Annotated[
        float,
        Option(
            "Give a logged-in session a new id when the old one is this old; 0: only at logins. "
            "Needs the fleet: every live worker must be able to follow.",
            "duration",
        ),
    ] = 0.0
    rotation_grace: Annotated[
        float,
        Option("How long the id of before a rotation still works once the new one was used (0 to 120 s).", "duration"),
    ] = 30.0
    on_gone: Annotated[
        Literal["ignore", "401", "409"],
        Option("The session ended while a request changed it: let the answer go, or answer with this status."),
    ] = "ignore"
    on_unavailable: Annotated[
        Literal["fail", "anonymous", "stale"],
        Option("Redis away: 503; an empty session with the cookie untouched; or a local copy at most 30 s old."),
    ] = "fail"
    save_on_error: Annotated[bool, Option("Save the session of a request that is answered with 5xx.")] = False
    encrypt: Annotated[
        Literal["off", "on", "required"],
        Option(
            "Encrypt what is written (AES-256-GCM, keys from ZDD_SECRET; extra `crypto`). Both are read, unless it is "
            "`required`: then a field that is not encrypted is kept, and reading it is an error."
        ),
    ] = "off"
    also_read_cookies: Annotated[
        tuple[str, ...],
        Option("Other names the session cookie may come under, while it is being renamed. Comma-separated."),
    ] = ()
    also_read_keys: Annotated[
        tuple[str, ...],
        Option("Where else sessions may lie, while `service` or `environment` is being renamed: `shop/production`."),
    ] = ()
    max_field: Annotated[int, Option("Largest encoded field.", "size")] = 64 * 1024
    max_session: Annotated[int, Option("Largest encoded session.", "size")] = 256 * 1024
    adopt: Annotated[
        Literal["off", "mirror", "lead", "final"],
        Option(
            "Take over the sessions of the framework, one deployment per step: `mirror`: they stay the truth; "
            "`lead`: ours are, they are still written; `final`: they are only read."
        ),
    ] = "off"
    adopt_user: Annotated[
        str | None,
        Option(
            "Field of the framework's session that says who is logged in; unset: `_auth_user_id` in Django, "
            "`_user_id` in Flask, `user` in Starlette."
        ),
    ] = None
    adopt_engine: Annotated[str, Option("Django: the session engine that is taken over.")] = (
        "django.contrib.sessions.backends.db"
    )


class IdempotencySettings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, one committed effect. What an endpoint says itself, in ``@zdd.idempotent(…)``, wins."""

    enabled: Annotated[bool, Option("Claim keys; off: decorated endpoints run unprotected, said once.")] = True
    lease: Annotated[
        float, Option("A worker unheard of for this long no longer holds a key; renewed by the pulse.", "duration")
    ] = 15.0
    retention: Annotated[float, Option("How long the outcome of a key is remembered.", "duration")] = 86_400.0
    consumer_retention: Annotated[
        float, Option("The same for messages: above the longest redelivery of the broker.", "duration")
    ] = 8 * 86_400.0
    body_ttl: Annotated[
        float, Option("How long the body of an answer is kept in Redis, if it is larger than 512 bytes.", "duration")
    ] = 900.0
    max_body: Annotated[int, Option("Largest body of an answer that is kept.", "size")] = 256 * 1024
    max_key: Annotated[int, Option("Longest key, in characters.", least=1, most=255)] = 255
    min_key: Annotated[int, Option("Shortest key, in characters.", least=1, most=255)] = 1
    key_format: Annotated[
        Literal["any", "uuid", "uuid7"], Option("What a key must be; `uuid7` also refuses those older than retention.")
    ] = "any"
    principal: Annotated[
        str | None, Option("Whose keys they are, where an endpoint does not say: a parameter path such as `user.id`.")
    ] = None
    wait: Annotated[
        float, Option("How long a duplicate waits for the first one's answer before 409.", "duration", most=2.0)
    ] = 0.0
    durability: Annotated[
        Literal["none", "replica", "aof"],
        Option("What a claim waits for: nothing, one replica (WAIT), or the disk (WAITAOF, Redis 7.2)."),
    ] = "none"


class Settings(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured.

    ``service`` and ``environment`` name the keys in Redis, so they come from explicit settings only.
    """

    service: Annotated[str, Option("Name of the service: 1 to 64 of `a-z A-Z 0-9 . _ -`.")] = "app"
    environment: Annotated[str, Option("Deployment environment, such as `production`.")] = "development"
    mode: Annotated[
        Literal["on", "stock"],
        Option("`stock`: per-process sessions, no drain, decorators pass through; for rehearsals only."),
    ] = "on"
    secret: Annotated[
        tuple[str, ...],
        Option(
            "Root of every derived key, at least 32 bytes each; the first writes, all read. Comma-separated.",
            secret=True,
        ),
    ] = ()
    store: StoreSettings = StoreSettings()
    release: ReleaseSettings = ReleaseSettings()
    fleet: FleetSettings = FleetSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    sessions: SessionSettings = SessionSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
