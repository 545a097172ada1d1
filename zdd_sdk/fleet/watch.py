"""Whether it is known who is alive: a pure decision over answers, epochs and gaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zdd_sdk.errors import SettingsError
from zdd_sdk.settings import FleetSettings

__all__ = ["UNKNOWN_TTLS", "Timing", "Watch"]

UNKNOWN_TTLS = 3
"""How many TTLs after a new epoch or a gap nobody claims to know who is alive (design 4.5)."""

_IDLE_TTLS = 90


@dataclass(frozen=True, slots=True)
class Timing:
    """The intervals of one worker, in seconds.

    Attributes:
        pulse: interval between pulses.
        ttl: silence after which a worker is gone.
    """

    pulse: float
    ttl: float

    @classmethod
    def of(cls, settings: FleetSettings) -> Timing:
        """Check the settings; in request mode an idle worker lives 90 times as long (15 min by default).

        Raises:
            SettingsError: the TTL is shorter than four pulses, so that one lost pulse could mean death.
        """
        if settings.pulse <= 0 or settings.ttl < 4 * settings.pulse:
            message = (
                f"fleet.ttl is {settings.ttl:g} s and fleet.pulse {settings.pulse:g} s: "
                "the TTL must be at least four pulses, and a pulse longer than 0"
            )
            raise SettingsError(message)
        return cls(settings.pulse, settings.ttl * (_IDLE_TTLS if settings.pulse_mode == "request" else 1))

    @property
    def quiet(self) -> float:
        """Seconds without any pulse of anybody after which nobody is declared dead for one TTL.

        A live worker may have been silent for one interval before such a gap and needs up to one
        more after it, so the gap that goes unnoticed must leave room for both.
        """
        return (self.ttl - self.pulse) / 2

    @property
    def unknown(self) -> float:
        """Seconds for which nobody claims to know after a new epoch or a gap."""
        return UNKNOWN_TTLS * self.ttl


@dataclass(frozen=True, slots=True)
class Watch:
    """What an observer remembers in order to say whether it knows who is alive. Pure: every time is passed in.

    Attributes:
        ttl: seconds.
        epoch: of the last answer; empty before the first.
        heard: own clock at the last answer, or ``None``.
        server: the server's milliseconds at the last answer.
        blind_until: own clock until which the answer is unknown.
        why: reason for being blind, for people.
        away: the last pulse was not answered.
        complete: the last answer held everything, not only the first page.
    """

    ttl: float
    epoch: str = ""
    heard: float | None = None
    server: int = 0
    blind_until: float = 0.0
    why: str = ""
    away: bool = False
    complete: bool = False

    def answered(
        self, clock: float, server: int, epoch: str, born: int, *, complete: bool, rolled_back: bool = False
    ) -> Watch:
        """Take an answer.

        Args:
            clock: own monotonic seconds.
            server: the server's milliseconds.
            epoch: of the registry.
            born: the server's milliseconds at which the epoch began.
            complete: whether everything up to the registry's generation has been received.
            rolled_back: the registry has an older generation than we have seen: a failover lost writes.
        """
        blind, why = self._blind(clock, server, epoch, born, rolled_back=rolled_back)
        if blind <= self.blind_until:
            blind, why = self.blind_until, self.why
        return replace(
            self,
            epoch=epoch,
            heard=clock,
            server=server,
            blind_until=blind,
            why=why,
            away=False,
            complete=complete,
        )

    def missed(self) -> Watch:
        """Take that a pulse was not answered."""
        return replace(self, away=True)

    def verdict(self, clock: float) -> str:
        """Return why it is unknown who is alive at ``clock``, or an empty text if it is known."""
        if self.heard is None:
            return "the store is away" if self.away else "no pulse was answered yet"
        if self.away:
            return "the store is away"
        if clock - self.heard > self.ttl:
            return "the last answered pulse is older than the TTL"
        if clock < self.blind_until:
            return self.why
        return "" if self.complete else "the registry is still being read"

    def _blind(self, clock: float, server: int, epoch: str, born: int, *, rolled_back: bool) -> tuple[float, str]:
        wait = UNKNOWN_TTLS * self.ttl
        if self.heard is None:
            return clock + max(0.0, wait - max(0, server - born) / 1000), "the registry is new"
        if epoch != self.epoch:
            return clock + wait, "the registry was flushed or nobody could pulse"
        if rolled_back:
            return clock + wait, "the registry lost its latest writes"
        # Both clocks: the own one stands still while the machine is suspended, the server's jumps at a failover.
        if max(clock - self.heard, abs(server - self.server) / 1000) > self.ttl:
            return clock + wait, "our own pulses had a gap"
        return 0.0, ""
