"""When motion makes events, in local time; outside it is held back and said."""

import time

import pytest

from agent.errors import ConfigError
from agent.frame import Box, Codec, Decision, Frame
from agent.motion import MotionSettings, hours
from agent.pipeline import Pipeline

MONDAY = (2026, 11, 23)


def at(day: int, hour: int, minute: int = 0) -> time.struct_time:
    """`day` 0: a Monday."""
    return time.localtime(time.mktime((*MONDAY[:2], MONDAY[2] + day, hour, minute, 0, 0, 0, -1)))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mo-Fr 08:00-18:00", [(0, 8), (4, 17, 59)], [(0, 7, 59), (4, 18), (5, 12)]),
        ("sa, SU", [(5, 0), (6, 23, 59)], [(4, 23, 59), (0, 0)]),
        ("22:00-06:00", [(0, 22), (0, 5, 59), (6, 0)], [(0, 6), (0, 21, 59)]),
        ("Fr 22:00-06:00", [(4, 22), (5, 5, 59)], [(4, 5), (5, 22), (6, 5)]),
        ("Sa-Mo 00:00-24:00", [(5, 0), (6, 12), (0, 23, 59)], [(1, 0), (4, 23)]),
    ],
)
def test_what_a_line_covers(text: str, inside: list[tuple[int, ...]], outside: list[tuple[int, ...]]) -> None:
    span = hours.parse(text)
    assert all(span.cover(at(*t)) for t in inside)
    assert not any(span.cover(at(*t)) for t in outside)


@pytest.mark.parametrize(
    "text", ["", "never", "Mo-", "Xx 08:00-09:00", "25:00-26:00", "8-9", "08:60-09:00", "9:00-9:00"]
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="schedule: '"):
        MotionSettings(schedule=(text,))


class Nothing:
    """A camera that has nothing to say."""

    label = "nothing"

    async def run(self, publish: object) -> None: ...


async def test_motion_outside_the_schedule_makes_no_event_and_says_why() -> None:
    schedule = MotionSettings(schedule=("Mo-Fr 08:00-18:00",)).when()
    pipeline = Pipeline("porch", Nothing(), [], analyse=lambda f: moving, schedule=schedule)
    moving = Decision(moving=True, score=0.1, boxes=(Box(0.1, 0.1, 0.2, 0.2),), reason="motion")

    class Found:
        """A judge with one verdict."""

        def __init__(self, frame: Frame) -> None:
            self.frame = frame

        def verdicts(self) -> list[tuple[Frame, Decision]]:
            return [(self.frame, moving)]

        def offer(self, frame: Frame | None) -> None: ...

    for index, (when, events) in enumerate([(at(5, 12), 0), (at(0, 19), 0), (at(0, 12), 1)]):
        frame = Frame(Codec.JPEG, b"\xff\xd8", True, index * 60 * 10**9, int(time.mktime(when)) * 10**9, 0)
        pipeline.recorder.frame(frame)
        pipeline._judge = Found(frame)  # type: ignore[assignment]
        pipeline._hear()
        assert pipeline.counters.events == events
    assert "schedule" in {e["reason"] for e in pipeline.why.json()}
