"""Whether an agent does what it is there for: what systemd's watchdog is fed for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from agent.pipeline import Pipeline
from agent.supervise import Health

log = logging.getLogger(__name__)

LIVELY_S = 30.0  # a camera that is up and silent for longer hangs: its stall timer should have fired
TRYING_S = 90.0  # the longest wait between two tries is a minute
STUCK_S = 300.0  # a sink that is up and gets nothing acknowledged for so long hangs: a slow line acknowledges parts

Key = tuple[str, str]


class Pulse:
    """Is every camera and sink capturing, judging, keeping, delivering or trying? An outage is no hang: a try counts.

    Up and doing nothing is one: no picture, pictures that nobody judges, items that neither the disk takes nor
    anybody tries to give it, or nothing acknowledged while something waits. `silence_s`: for how long a camera may be
    up without a picture by its own settings.
    """

    def __init__(self, pipelines: list[Pipeline], silence_s: Mapping[str, float] | None = None) -> None:
        self._pipelines = pipelines
        self._silence_s = silence_s or {}
        self._seen: dict[Key, tuple[int, float]] = {}
        self._still: set[Key] = set()

    def beats(self, now_s: float) -> bool:
        """Did each make progress lately (`now_s`: monotonic seconds)? What does not is said once."""
        still = {key for p in self._pipelines for key in self._stuck(p, now_s)}
        for camera, what in sorted(still - self._still):
            log.error("%s: %s does nothing; the watchdog is not fed any more", camera, what)
        self._still = still
        return not still

    def _stuck(self, p: Pipeline, now_s: float) -> Iterator[Key]:
        if not p.ended.is_set():
            lively_s = LIVELY_S + self._silence_s.get(p.name, 0.0)
            if not self._moved((p.name, "the camera"), p.health.progress, now_s, _patience_s(p.health, lively_s)):
                yield p.name, "the camera"
            if not self._judges(p, now_s, lively_s):
                yield p.name, "motion detection"
        if not self._keeps(p, now_s):
            yield p.name, "the spool"
        for i, way in enumerate(p.ways):
            key = (p.name, f"sink {i + 1} ({way.sink.label})")
            progress = way.health.progress + way.outbox.progress
            moved = self._moved(key, progress, now_s, _patience_s(way.health, STUCK_S))
            if not moved and not (way.health.up and way.outbox.idle):
                yield key

    def _judges(self, p: Pipeline, now_s: float, lively_s: float) -> bool:
        """Pictures are judged as long as there are any."""
        key, done = (p.name, "motion detection"), p.counters.analysed + p.counters.undecodable
        if p.judged_every_s is None or not p.health.up:
            self._seen.pop(key, None)
            return True
        return self._moved(key, done, now_s, max(lively_s, 3 * p.judged_every_s))

    def _keeps(self, p: Pipeline, now_s: float) -> bool:
        """The oldest item that waits for the disk is another one, or was tried again."""
        key, upkeep = (p.name, "the spool"), p.spool.upkeep
        if upkeep is None:
            self._seen.pop(key, None)
            return True
        return self._moved(key, upkeep, now_s, STUCK_S)

    def _moved(self, key: Key, progress: int, now_s: float, within_s: float) -> bool:
        seen, since_s = self._seen.get(key, (-1, now_s))
        if seen != progress:
            self._seen[key] = (progress, now_s)
            return True
        return now_s - since_s < within_s


def _patience_s(health: Health, up_s: float) -> float:
    return up_s if health.up else TRYING_S
