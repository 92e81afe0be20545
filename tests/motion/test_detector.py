"""What the detector promises whatever the scene: stillness is still, light is no motion, what goes somewhere is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.frame import Decision
from agent.motion import MotionSettings, Zone, create

Plane = NDArray[Any]
FPS = 10.0
SMALLEST = 4
"""pixels of the small plane: the side of the smallest block that is promised to be seen"""


def view(seed: int = 1, size: tuple[int, int] = (60, 80)) -> Plane:
    """A textured picture of mean 110."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.normal(110, 30, (12, 16)).astype(np.float32)
    return np.clip(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), 20, 230)


def watch(planes: Iterable[Plane], settings: MotionSettings | None = None, fps: float = FPS) -> list[Decision]:
    detector = create(settings or MotionSettings())
    return [detector.update(np.clip(p, 0, 255).astype(np.uint8), i / fps) for i, p in enumerate(planes)]


def noisy(still: Plane, sigma: float, count: int, seed: int = 0) -> Iterable[Plane]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield still + rng.normal(0, sigma, still.shape)


def walk(
    contrast: float, side: int = SMALLEST, count: int = 80, begin: int = 40, speed: float = 10.0
) -> Iterable[Plane]:
    """A block that is lighter or darker by `contrast` enters at frame `begin` and crosses, `speed` pixels a second."""
    still = view()
    for i, picture in enumerate(noisy(still, 1.0, count)):
        x = round((i - begin) * speed / FPS)
        if i >= begin:
            picture[30 : 30 + side, max(0, x - side) : max(0, x)] += contrast
        yield picture


@pytest.mark.parametrize("sigma", [0.0, 1.0, 3.0, 6.0, 12.0])
def test_noise_never_moves(sigma: float) -> None:
    decisions = watch(noisy(view(size=(36, 48)), sigma, 10_000))
    assert not any(d.moving for d in decisions)


@pytest.mark.parametrize("to", [0.25, 0.6, 1.6])
@pytest.mark.parametrize("over", [1, 5, 100])
def test_light_never_moves(to: float, over: int) -> None:
    still = view()
    steps = np.concatenate([np.ones(60), np.linspace(1, to, over + 1), np.full(80, to)])
    rng = np.random.default_rng(3)
    assert not any(d.moving for d in watch(still * s + rng.normal(0, 1, still.shape) for s in steps))


def test_after_another_light_nothing_begins_for_six_looks() -> None:
    still, rng = view(), np.random.default_rng(4)
    planes = []
    for i in range(100):
        picture = (still if i < 60 else still * 0.5) + rng.normal(0, 1, still.shape)
        if i >= 60:
            x = 5 + 2 * (i - 60)
            picture[30:38, x : x + 8] += 60
        planes.append(picture)
    moving = [d.moving for d in watch(planes, fps=5)]
    assert not any(moving[:66])
    assert any(moving[66:72])


def test_sunny_patches_that_drift_are_not_motion_for_long() -> None:
    import cv2

    rng, still = np.random.default_rng(4), view()
    clouds = cv2.GaussianBlur(rng.normal(0, 1, (60, 400)).astype(np.float32), (0, 0), 6)
    shade = 0.45 / (1 + np.exp(-4 * clouds / clouds.std()))
    planes = [still * (1 - shade[:, i // 2 : i // 2 + 80]) + rng.normal(0, 1, still.shape) for i in range(250)]
    assert sum(d.moving for d in watch(planes)) < 150


@pytest.mark.parametrize("contrast", [-60.0, -35.0, 35.0, 60.0])
@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_a_block_of_the_smallest_size_is_seen_within_a_second(contrast: float, fps: float) -> None:
    still, rng = view(), np.random.default_rng(5)
    planes = []
    for i in range(round(6 * fps)):
        picture = still + rng.normal(0, 1.0, still.shape)
        x = round((i / fps - 4) * 10)
        if x > 0:
            picture[30 : 30 + SMALLEST, max(0, x - SMALLEST) : x] += contrast
        planes.append(picture)
    decisions = watch(planes, fps=fps)
    assert not any(d.moving for d in decisions[: round(4 * fps)])
    # The block is wholly in view after 0.4 s.
    first = next(i for i, d in enumerate(decisions) if d.moving)
    assert first / fps <= 5.4
    box = decisions[first].boxes[0]
    assert box.y <= 32 / 60 <= box.y + box.h


def test_a_thing_put_down_is_still_and_its_place_is_learned() -> None:
    planes = list(noisy(view(), 1.0, 200))
    for p in planes[50:120]:
        p[20:32, 40:52] += 60
    decisions = watch(planes)
    assert not any(d.moving for d in decisions[60:115])
    assert not any(d.moving for d in decisions[130:])


def test_who_comes_later_is_kept_from_being_learned_as_long_as_who_came_first() -> None:
    from agent.motion.background import Background
    from agent.motion.tuning import tuned

    empty, who, here = (np.full((20, 20), grey, np.uint8) for grey in (90, 200, 255))
    background = Background(empty, tuned(5))

    def seen(seconds: float, picture: Plane, active: Plane | None) -> bool:
        for _ in range(round(seconds * 5)):
            background.learn(picture, active, 0.2)
        return bool(abs(background.mean.mean() - 90) > 1)

    assert not seen(15, who, here)
    assert not seen(5, empty, None)
    assert not seen(15, who, here)
    assert seen(10, who, here)


def test_what_swings_on_the_spot_is_learned_and_a_walker_beside_it_still_seen() -> None:
    rng, still = np.random.default_rng(2), view()
    leaf = rng.normal(0, 35, (24, 30))
    planes = []
    for i in range(400):
        picture = still + rng.normal(0, 1, still.shape)
        shift = round(2 * np.sin(i * 0.9) + 1.5 * np.sin(i * 0.41))
        picture[2:26, 6 + shift : 36 + shift] += leaf
        if i >= 300:
            x = 40 + (i - 300) // 2
            picture[40:46, x : x + 3] -= 50
        planes.append(picture)
    decisions = watch(planes)
    assert not any(d.moving for d in decisions[100:300])
    assert any(d.moving for d in decisions[300:315])


def test_day_and_night_are_remembered() -> None:
    day, dark = view(1), 255 - view(9)
    planes = [*noisy(day, 1, 150), *noisy(dark, 1, 150), *noisy(day, 1, 60)]
    detector = create(MotionSettings())
    decisions = [detector.update(np.clip(p, 0, 255).astype(np.uint8), i / FPS) for i, p in enumerate(planes)]
    assert not any(d.moving for d in decisions)
    assert decisions[150].reason == "light"
    assert detector._scene.background.age_s > 15  # type: ignore[attr-defined]


def test_the_same_input_gives_the_same_decisions() -> None:
    assert watch(walk(50)) == watch(walk(50))


@pytest.mark.parametrize("shape", [(2, 2), (1, 80), (200, 3), (600, 800)])
def test_any_shape_is_looked_at(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert not any(d.moving for d in watch([rng.normal(100, 1, shape) for _ in range(30)]))


def test_a_new_size_a_gap_and_time_that_goes_back_begin_anew() -> None:
    detector = create(MotionSettings())
    for i in range(20):
        detector.update(np.full((60, 80), 90, np.uint8), i / 10)
    assert detector.update(np.full((30, 40), 90, np.uint8), 2.0).reason == "learning"
    assert detector.update(np.full((30, 40), 200, np.uint8), 60.0).reason == "learning"
    assert detector.update(np.full((30, 40), 20, np.uint8), 1.0).reason == "learning"


def test_masks_zones_and_sizes_hold_motion_back_and_say_so() -> None:
    top = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.4), (0.0, 0.4))
    bottom = ((0.0, 0.4), (1.0, 0.4), (1.0, 1.0), (0.0, 1.0))
    planes = list(walk(60))

    def seen(settings: MotionSettings) -> tuple[bool, set[str]]:
        decisions = watch(planes, settings)
        return any(d.moving for d in decisions), {h.reason for d in decisions for h in d.hidden}

    assert seen(MotionSettings())[0]
    assert seen(MotionSettings(masks=(bottom,))) == (False, {"mask"})
    assert not seen(MotionSettings(zones=(Zone(name="sky", points=top),)))[0]
    assert seen(MotionSettings(zones=(Zone(name="yard", points=bottom),)))[0]
    assert "small" in seen(MotionSettings(min_size=0.2))[1]
    assert not seen(MotionSettings(min_size=0.2))[0]
    assert not seen(MotionSettings(max_size=0.02))[0]
    masked = [h for d in watch(planes, MotionSettings(masks=(bottom,))) for h in d.hidden]
    assert max(h.evidence / h.wanted for h in masked) > 0.5
    named = watch(planes, MotionSettings(zones=(Zone(name="yard", points=bottom),)))
    assert {d.zone for d in named if d.moving} == {"yard"}


def test_sensitivity_decides_about_the_slightest_thing() -> None:
    def frames(sensitivity: int) -> int:
        return sum(d.moving for d in watch(walk(16, side=3), MotionSettings(sensitivity=sensitivity)))

    assert frames(1) <= frames(5) <= frames(10)
    assert frames(1) < frames(10)


def test_a_zone_may_be_more_sensitive_than_the_rest() -> None:
    bottom = ((0.0, 0.4), (1.0, 0.4), (1.0, 1.0), (0.0, 1.0))

    def frames(sensitivity: int) -> int:
        zone = Zone(name="yard", points=bottom, sensitivity=sensitivity)
        return sum(d.moving for d in watch(walk(30, side=3), MotionSettings(sensitivity=5, zones=(zone,))))

    assert frames(1) < frames(10)


BUGS: dict[str, tuple[dict[str, Any], Callable[[], None]]] = {
    "nothing is learned": (
        {"background.Background.learn": lambda *_: None},
        test_what_swings_on_the_spot_is_learned_and_a_walker_beside_it_still_seen,
    ),
    "nothing is held back": (
        {"detector.MotionDetector._held_back": lambda *_: ""},
        lambda: test_noise_never_moves(6.0),
    ),
    "nothing is proven": (
        {"tracks.Tracker._prove": lambda *_: None},
        lambda: test_a_block_of_the_smallest_size_is_seen_within_a_second(60.0, 10.0),
    ),
    "what is proven is not doubted": (
        {"tracks.DOUBTS": 1 << 30},
        test_sunny_patches_that_drift_are_not_motion_for_long,
    ),
    "no scene is known again": ({"scene.ALIKE": -1.0}, test_day_and_night_are_remembered),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patches, test = BUGS[bug]
    for where, instead in patches.items():
        monkeypatch.setattr(f"agent.motion.{where}", instead)
    with pytest.raises((AssertionError, StopIteration)):
        test()
