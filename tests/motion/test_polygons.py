"""Outlines: what people may draw, and what they are told."""

import pytest

from agent.errors import ConfigError
from agent.motion import MotionSettings, Zone, polygons

SQUARE = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (((0.1, 0.1), (0.9, 0.9)), "3 to 64 points, not 2"),
        (((0.1, 0.1), (1.2, 0.1), (0.5, 0.5)), r"point 2 \[1.2, 0.1\] lies outside the picture"),
        (((0.1, 0.1), (0.9, float("nan")), (0.5, 0.5)), "point 2"),
        (((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)), r"crosses itself \(the sides after points 1 and 3\)"),
        (((0.1, 0.1), (0.1, 0.1), (0.9, 0.1), (0.1, 0.9)), "point 1 stands twice"),
        (((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)), "encloses nothing"),
    ],
)
def test_an_outline_without_a_clear_inside_is_refused(points: polygons.Polygon, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        polygons.check(points, "zone 'x'")


def test_good_outlines_pass_whichever_way_round() -> None:
    polygons.check(SQUARE, "x")
    polygons.check(SQUARE[::-1], "x")
    polygons.check(((0, 0), (1, 0), (1, 1), (0.5, 0.2), (0, 1)), "x")


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"masks\[1\]"):
        MotionSettings(masks=(SQUARE, SQUARE[:2]))
    with pytest.raises(ConfigError, match="two zones"):
        MotionSettings(zones=(Zone(name="a", points=SQUARE), Zone(name="a", points=SQUARE)))
    with pytest.raises(ConfigError, match="min_size"):
        MotionSettings(min_size=0.5, max_size=0.2)
