"""Which of two copies of a session is right, while sessions of a framework become ours or ours become its. Pure.

Three steps, one deployment each, and the same steps backwards: ``mirror``, ``lead``, ``final``. Two
neighbouring steps (the release without the SDK is the neighbour of ``mirror``) serve the same users at
the same time. So no step may believe its own copy: it has to *see* what its neighbour did.

What is kept: with our session, a `Link`: the revision and the fingerprint (a hash of all fields, as the
framework reads them) at which both copies were last known to be equal; and, as long as somebody is about to
write the framework's copy, the fingerprint it will have then (``announced``). A copy of the link lies in a cookie
beside the framework's: a browser that missed an answer, or sends two requests at once, shows an older state, and
without a link it has never been given a session of the framework whose absence could mean a logout.

====================  =============================  =========  ======================================================
ours                  the framework's                verdict    what is done
====================  =============================  =========  ======================================================
none                  none                           NOBODY     whatever this request puts in goes to both
none                  there                          ADOPT      ours is made from it
alive, link agrees    fingerprint of the link        SYNCED     nothing; what this request changes goes to both
alive, moved on       one we know                    OURS       the framework's copy is behind: it is written anew
alive                 none, and `final` came by      OURS       (as above)
alive                 another one                    LEGACY     it was written without us: ours takes it over
alive                 none                           ENDED      a logout without us: ours is ended
marker of a login     one we know, or none           CLOSED     a request from before that login: it changes neither
marker of a login     another one                    ASIDE      it goes on with the framework's; the next one takes over
none, but presented   the one our link names         STALE      only in ``final``: ours was ended; theirs ends, too
none, but presented   there                          STALE      in ``lead`` and ``final``, if its user was since logged
                                                                out everywhere
====================  =============================  =========  ======================================================

The steps judge alike; they differ in what they may do without:

- ``mirror``: Redis away: the framework's session goes on alone; the change is seen as LEGACY later.
- ``lead``: the framework's store away: ours goes on alone; seen as OURS later. Redis away: as ``on_unavailable`` says.
- ``final``: the framework's copy is read until it is marked as retired, and ended by a logout; nothing else is
  done to it. It stays in place, because deleting it would race with an answer of ``lead`` that writes it; that
  it grows old or is gone says nothing any more, and a step back has it written anew.

Promised, for a user whose requests come one after the other: no write, login or logout that was answered is
lost or undone, whatever the steps of the instances that answered. For parallel requests: between instances
with the SDK changes of different fields are merged, as ours always are; a request that runs on an instance
without the SDK writes the whole session of the framework, and the last one wins, as it always did there.
Two requests at once that both find a session of the framework which is not ours yet take it over twice; one copy wins.
Where a framework keeps its session in the browser, a logout cannot be forced on a copy of the cookie.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from zdd_sdk.errors import SessionValueError
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.ids import SessionId
from zdd_sdk.sessions.model import check_name

__all__ = [
    "ANNOUNCED",
    "ANNOUNCEMENT_LIFE",
    "LINK",
    "RETIRED",
    "Link",
    "Sight",
    "Step",
    "Verdict",
    "announced_in",
    "announcement",
    "changed_fields",
    "fingerprint",
    "identity_mark",
    "judge",
    "pack",
    "read_link",
    "taken_print",
    "worn_announcements",
]

Step = Literal["mirror", "lead", "final"]

LINK = b"adopt"
"""Field of our hash that holds the link."""

ANNOUNCED = b"adopt:"
"""Prefix of the fields that announce a fingerprint the framework's copy is about to have."""

ANNOUNCEMENT_LIFE = 60_000
"""Milliseconds an announcement counts: far longer than writing takes, and short, because a value that was once
announced and never settled could later be the result of a write without us."""

RETIRED = b"adopt-retired"
"""Field that ``final`` sets, and an agreement takes away; apart from the link, so that neither overwrites the other."""

_DIGEST = 10
_TEXT = re.compile(r"([0-9a-f]{0,20})\.([0-9]{1,15})\.([0-9a-f]{20}|-)\.([0-9]{1,15})", re.ASCII)


class Verdict(Enum):
    """What the two copies are to each other; see the table above."""

    NOBODY = "nobody"
    ADOPT = "adopt"
    SYNCED = "synced"
    OURS = "ours"
    LEGACY = "legacy"
    ENDED = "ended"
    CLOSED = "closed"
    ASIDE = "aside"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Link:
    """When both copies were last known to be equal.

    Attributes:
        identity: `identity_mark` of our session.
        revision: of our session.
        fingerprint: of the framework's; empty: there was none.
        at: server time, ms since 1970.
    """

    identity: str
    revision: int
    fingerprint: str
    at: int = 0

    @property
    def text(self) -> str:
        """As it is stored, in Redis and in a cookie."""
        return f"{self.identity}.{self.revision}.{self.fingerprint or '-'}.{self.at}"

    @classmethod
    def parse(cls, text: str) -> Link | None:
        """Read a stored link; ``None`` if it is not one."""
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        return cls(match[1], int(match[2]), "" if match[3] == "-" else match[3], int(match[4]))


@dataclass(frozen=True, slots=True)
class Sight:
    """What one request sees of both copies.

    Attributes:
        legacy: fingerprint of the framework's session; empty: it has none.
        ours: whether Redis has our session, or the marker a login left behind.
        identity: `identity_mark` of the id under which it was found, or that was presented.
        revision: of our session.
        link: kept with ours.
        announced: fingerprints somebody was about to write.
        retired: ``final`` came by since both copies agreed: the framework's may be old, or gone.
        browser: the link in the browser; ``None``: it was never given a session of the framework by us.
        revoked: the request carries an id that Redis does not know, of a user who was logged out everywhere.
    """

    legacy: str
    ours: Literal["none", "alive", "marker"] = "none"
    identity: str = ""
    revision: int = 0
    link: Link | None = None
    announced: frozenset[str] = frozenset()
    retired: bool = False
    browser: Link | None = None
    revoked: bool = False


def judge(step: Step, sight: Sight) -> Verdict:
    """Say what two copies are to each other."""
    if sight.ours == "marker":
        return Verdict.CLOSED if not sight.legacy or sight.legacy in _known(sight) else Verdict.ASIDE
    if sight.ours == "none":
        return _judge_alone(step, sight)
    if sight.legacy in _known(sight):
        return Verdict.SYNCED if _agrees(sight) else Verdict.OURS
    return Verdict.LEGACY if sight.legacy else Verdict.ENDED


def _judge_alone(step: Step, sight: Sight) -> Verdict:
    if not sight.legacy:
        return Verdict.NOBODY
    link = sight.browser
    # by a release that no longer adopts, too: it deletes our cookie, and leaves the framework's and the link
    left = link is not None and link.identity != "" and sight.identity in {"", link.identity}
    ended = left and link is not None and link.fingerprint == sight.legacy
    stale = (step != "mirror" and sight.revoked) or (step == "final" and ended)
    return Verdict.STALE if stale else Verdict.ADOPT


def _known(sight: Sight) -> set[str]:
    links = [link for link in (sight.link, sight.browser) if link is not None]
    known = {link.fingerprint for link in links} | sight.announced
    if sight.retired or sight.browser is None:
        known.add("")
    if taken_print(sight.legacy, sight.browser) in sight.announced:
        known.add(sight.legacy)
    return known


def _agrees(sight: Sight) -> bool:
    link = sight.link
    if link is None or sight.retired or sight.legacy != link.fingerprint:
        return False
    return (link.identity, link.revision) == (sight.identity, sight.revision)


def pack(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Encode every field, so that they can be compared and hashed.

    Raises:
        SessionValueError: a field cannot be kept in our sessions; says which and of what type.
    """
    packed = {}
    for name, value in values.items():
        try:
            packed[check_name(name)] = codec.encode(value)
        except SessionValueError as error:
            message = f"session[{name!r}]: {error}"
            raise SessionValueError(message) from None
    return packed


def fingerprint(packed: Mapping[str, bytes]) -> str:
    """Hash a session, in any order of its fields; empty for an empty one."""
    if not packed:
        return ""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for name in sorted(packed):
        for part in (name.encode(), packed[name]):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def taken_print(legacy: str, browser: Link | None) -> str:
    """Name what a browser showed beside its link: a request sent at once with the one that took it over shows the same.

    Only with the link: the same fields may come again, in a write of later.
    """
    if browser is None or not legacy:
        return ""
    return hashlib.blake2b(f"{legacy}/{browser.text}".encode(), digest_size=_DIGEST).hexdigest()


def changed_fields(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[set[str], set[str]]:
    """Return the names of the fields that were set and of those that were deleted."""
    return {name for name, data in after.items() if before.get(name) != data}, before.keys() - after.keys()


def identity_mark(identity: SessionId | None) -> str:
    """Short name of one of our sessions that does not tell its id; empty for none."""
    if identity is None:
        return ""
    return hashlib.blake2b(identity.text.encode(), digest_size=_DIGEST, person=b"zdd-adopt").hexdigest()


def announcement(print_: str, now: int) -> tuple[bytes, bytes]:
    """Return the field that announces a fingerprint, and its value: server time in ms."""
    return ANNOUNCED + print_.encode(), b"%d" % now


def worn_announcements(others: Mapping[bytes, bytes], now: int) -> set[bytes]:
    """Return the fields of announcements that do not count any more.

    Args:
        others: the raw fields.
        now: server time, ms.
    """
    counting = announced_in(others, now)
    named = {name for name in others if name.startswith(ANNOUNCED)}
    return {name for name in named if name[len(ANNOUNCED) :].decode("ascii", "replace") not in counting}


def announced_in(others: Mapping[bytes, bytes], now: int) -> frozenset[str]:
    """Return the fingerprints announced in a hash and not too long ago.

    Args:
        others: the raw fields.
        now: server time, ms.
    """
    return frozenset(
        name[len(ANNOUNCED) :].decode("ascii", "replace")
        for name, made in others.items()
        if name.startswith(ANNOUNCED) and made.isdigit() and now - int(made) < ANNOUNCEMENT_LIFE
    )


def read_link(values: Sequence[str]) -> Link | None:
    """Return the first well-formed link among the values of a cookie."""
    return next((link for value in values if (link := Link.parse(value)) is not None), None)
