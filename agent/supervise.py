"""The one place that retries: full-jitter back-off, one WARNING, quiet repeats, one INFO when it is well again."""

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.clock import Clock, SystemClock
from agent.errors import GoneError, PermanentError, TransientError

log = logging.getLogger(__name__)

FIRST_S = 0.5
LONGEST_S = 15.0
REFUSED_S = 60.0
NAP_S = 60.0
RETURNED = "it ended the connection"


@dataclass(slots=True)
class Health:
    """What a supervised run is doing, for status lines and the watchdog.

    `refused`: the last try ended for a reason that somebody must mend; `exit_code` is for one-shot commands.
    `progress` counts whatever shows life (frames, attempts): the watchdog is fed while it rises.
    """

    up: bool = False
    error: str = ""
    attempts: int = 0
    failures: int = 0
    progress: int = 0
    since_ns: int = 0
    refused: bool = False
    exit_code: int = 69
    gone: bool = False
    _quiet: bool = field(default=False, repr=False)

    def worked(self, name: str, clock: Clock) -> None:
        """A first sign of success in this run (a frame arrived, the server said welcome)."""
        self.progress += 1
        if self.up:
            return
        self.up = True
        self.refused = False
        self.failures = 0
        self.since_ns = clock.wall_ns()
        if self._quiet:
            log.info("%s: back", name)
        self._quiet, self.error = False, ""

    def failed(self, name: str, why: str, level: int, clock: Clock) -> None:
        if self.up or not self.error:
            self.since_ns = clock.wall_ns()
        self.up = False
        self.failures += 1
        self.progress += 1
        log.log(logging.DEBUG if self._quiet and self.error == why else level, "%s: %s", name, why)
        self._quiet, self.error = True, why


def backoff_s(failures: int, rng: random.Random) -> float:
    """Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): 0.5 s doubling to 15 s, then random below."""
    return rng.uniform(0.0, min(LONGEST_S, FIRST_S * 2 ** min(max(failures - 1, 0), 10)))


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    health: Health,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    once: bool = False,
) -> None:
    """Call `run` again for ever; return only when it returns and `once` is set.

    TransientError waits the back-off, after what the other end asked for; PermanentError a minute (cameras lock
    out who hammers). Any other exception is a bug and leaves. `health.worked` is called by whoever sees the success.
    """
    clock, rng = clock or SystemClock(), rng or random.Random()
    while True:
        health.attempts += 1
        try:
            await run()
            if once:
                health.up = False
                return
            health.failed(name, RETURNED, logging.WARNING, clock)
            wait = backoff_s(health.failures, rng)
        except TransientError as e:
            health.failed(name, str(e), logging.WARNING, clock)
            wait = e.wait_s + backoff_s(health.failures, rng)
        except PermanentError as e:
            health.refused, health.exit_code, health.gone = True, e.exit_code, isinstance(e, GoneError)
            health.failed(name, str(e), logging.ERROR, clock)
            wait = REFUSED_S
        while wait > NAP_S:
            await clock.sleep(NAP_S)
            wait -= NAP_S
            health.progress += 1  # a long wait that was asked for is no hang
        await clock.sleep(wait)
