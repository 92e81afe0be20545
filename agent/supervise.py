"""The one place that retries: full-jitter back-off, one WARNING, quiet repeats, one INFO when it is well again."""

import asyncio
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
REFUSED_CODE = 77
NAP_S = 60.0
EAGER_S = 60.0
EAGER_LONGEST_S = 1.0
SHORT_RUN_NS = 2_000_000_000
TELL_AGAIN_NS = 60_000_000_000
MAX_SAID = 8
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
    short_run: bool = False
    down_ns: int = 0
    _up_ns: int = field(default=0, repr=False)
    _told_down: bool = field(default=False, repr=False)
    _told_ns: int | None = field(default=None, repr=False)
    _said: set[str] = field(default_factory=set, repr=False)

    def worked(self, name: str, clock: Clock) -> None:
        """A first sign of success in this run (a frame arrived, the server said welcome)."""
        self.progress += 1
        if self.up:
            return
        self.up = True
        self.refused = False
        self.failures = 0
        self.error = ""
        self.since_ns, self._up_ns = clock.wall_ns(), clock.monotonic_ns()
        if self.short_run:
            asyncio.get_running_loop().call_later(SHORT_RUN_NS / 1e9, self._back, name, self._up_ns)
        else:
            self._back(name, self._up_ns)

    def _back(self, name: str, up_ns: int) -> None:
        """It is well again, and after a short run stayed so: what fails at once each time is not said to be back."""
        if not self.up or self._up_ns != up_ns:
            return
        if self._told_down:
            log.info("%s: back", name)
        self._told_down = False
        self._said.clear()

    def failed(self, name: str, why: str, level: int, clock: Clock) -> None:
        """One that comes and goes is told of once a minute; while it is away, each reason once.

        But what was just said to be back and is not, is told of at once.
        """
        why = why.removeprefix(name.rpartition(" → ")[2] + ": ")  # whose peer is named already
        now_ns = clock.monotonic_ns()
        if self.up or not self.error:
            self.since_ns, self.down_ns = clock.wall_ns(), now_ns
        self.short_run = self.up and now_ns - self._up_ns < SHORT_RUN_NS
        self.up = False
        self.failures += 1
        self.progress += 1
        self.error = why
        lately = self._told_ns is not None and now_ns - self._told_ns < TELL_AGAIN_NS
        if why in self._said or (lately and self._told_down == self.short_run):
            level = logging.DEBUG
        else:
            self._told_down, self._told_ns = True, now_ns
            if len(self._said) < MAX_SAID:
                self._said.add(why)
        log.log(level, "%s: %s", name, why)


def backoff_s(failures: int, rng: random.Random, longest_s: float = LONGEST_S) -> float:
    """Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): 0.5 s doubling to the longest, random below."""
    return rng.uniform(0.0, min(longest_s, FIRST_S * 2 ** min(max(failures - 1, 0), 10)))


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    health: Health,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    once: bool = False,
    eager: bool = False,
) -> None:
    """Call `run` again for ever; return only when it returns and `once` is set.

    TransientError waits the back-off, after what the other end asked for; PermanentError a minute (cameras lock
    out who hammers). `eager` is for cameras, which are near: at most a second in an outage's first minute, so that a
    camera is back within 3 s of being there again, and 15 s for what is no refused login. Any other exception is a
    bug and leaves. `health.worked` is called by whoever sees the success.
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
            wait = _wait_s(health, clock, rng, eager)
        except TransientError as e:
            health.refused = False
            health.failed(name, str(e), logging.WARNING, clock)
            wait = e.wait_s + _wait_s(health, clock, rng, eager)
        except PermanentError as e:
            health.refused, health.exit_code, health.gone = True, e.exit_code, isinstance(e, GoneError)
            health.failed(name, str(e), logging.ERROR, clock)
            wait = LONGEST_S if eager and e.exit_code != REFUSED_CODE else REFUSED_S
        while wait > NAP_S:
            await clock.sleep(NAP_S)
            wait -= NAP_S
            health.progress += 1  # a long wait that was asked for is no hang
        await clock.sleep(wait)


def _wait_s(health: Health, clock: Clock, rng: random.Random, eager: bool) -> float:
    young = clock.monotonic_ns() - health.down_ns < EAGER_S * 1e9
    wait_s = backoff_s(health.failures, rng, EAGER_LONGEST_S if eager and young else LONGEST_S)
    # What works for a moment only is not asked more than about once a second.
    return max(wait_s, rng.uniform(FIRST_S, 3 * FIRST_S)) if health.short_run else wait_s
