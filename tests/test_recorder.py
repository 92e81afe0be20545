"""Events: exact pre-roll and post-roll, short clips, nothing lost and nothing twice."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.frame import Clip, Codec, Decision, Frame
from agent.media.clip import pack
from agent.media.wire import MAX_ITEM_BYTES
from agent.recorder import CLIP_BYTES, Closed, EventSettings, Opened, Recorder
from tests.frames import SECOND, frame

MOVING = Decision(True, 0.1, reason="motion")
STILL = Decision(False)
FPS = 10


def play(settings: EventSettings, moving: set[int], count: int, *, every: int = 1, late: int = 0) -> list:
    """Feed `count` frames at 10 fps; frames in `moving` move; decisions come `late` frames after their own."""
    out: list = []
    recorder = Recorder(settings, out.append)
    frames = [frame(i, i / FPS) for i in range(count)]
    for i, f in enumerate(frames):
        recorder.frame(f)
        judged = i - late
        if judged >= 0 and judged % every == 0:
            recorder.decision(frames[judged], MOVING if judged in moving else STILL)
    recorder.end("stop")
    return out


def indices(out: list) -> list[int]:
    return [f.index for c in out if isinstance(c, Clip) for f in c.frames]


def test_pre_roll_and_post_roll_are_exact_in_seconds() -> None:
    out = play(EventSettings(pre_roll_s=2, post_roll_s=3, merge_gap_s=3), {50, 51, 52}, 150)
    assert indices(out) == list(range(30, 83))
    assert isinstance(out[0], Opened) and out[0].wall_ns == frame(50, 5.0).wall_ns
    closed = out[-1]
    assert isinstance(closed, Closed) and closed.why == "quiet" and closed.frames == 53
    assert closed.end_ns == frame(0, 8.2).wall_ns


def test_pre_roll_is_measured_from_the_judged_frame_when_the_decision_is_late() -> None:
    out = play(EventSettings(pre_roll_s=2, post_roll_s=1, merge_gap_s=1), {50}, 100, late=5)
    assert indices(out)[0] == 30


def test_pre_roll_frames_are_marked() -> None:
    out = play(EventSettings(), {50}, 70)
    marked = [f.index for c in out if isinstance(c, Clip) for f in c.frames[: c.preroll]]
    assert marked == list(range(30, 50))


def test_it_tells_how_long_an_event_lasts_in_any_case() -> None:
    recorder = Recorder(EventSettings(post_roll_s=3, merge_gap_s=5), lambda what: None)
    assert recorder.settled_ns(frame(0, 0)) == 0
    for i in range(90):
        recorder.frame(frame(i, i / 10))
        recorder.decision(frame(i, i / 10), MOVING if i == 50 else STILL)
        assert recorder.settled_ns(frame(i, i / 10)) == (max(0, 80 - i) * SECOND // 10 if i >= 50 else 0)


def test_pre_roll_leaves_at_once_and_young_clips_are_short() -> None:
    out: list = []
    recorder = Recorder(EventSettings(), out.append)
    for i in range(50):
        recorder.frame(frame(i, i / FPS))
    recorder.decision(frame(49, 4.9), MOVING)
    assert indices(out)[-1] == 49, "the pre-roll and the first picture leave with the decision"
    for i in range(50, 120):
        recorder.frame(frame(i, i / FPS))
        if i % 2:
            recorder.decision(frame(i, i / FPS), MOVING)
    for clip in (c for c in out if isinstance(c, Clip)):
        span_s = (clip.frames[-1].pts_ns - clip.frames[0].pts_ns) / 1e9
        age_s = clip.frames[0].pts_ns / 1e9 - 4.9
        assert span_s <= (0.25 if 0 <= age_s < 2 else 1.0)


def test_the_clips_of_large_pictures_are_ones_that_a_server_takes() -> None:
    """4K MJPEG at 30 fps, 1.5 MB a picture: 45 MB a second, in the pre-roll, while the event is young, and later."""
    out: list = []
    recorder = Recorder(EventSettings(), out.append)
    picture = bytes(1_500_000)
    for i in range(240):
        recorder.frame(f := replace(frame(i, i / 30), data=picture if i != 200 else bytes(9_000_000)))
        recorder.decision(f, MOVING if i >= 90 else STILL)
    recorder.end("stop")
    got = indices(out)
    assert got == list(range(got[0], 240)) and got[0] < 90, "all of it, each once"
    clips = [c for c in out if isinstance(c, Clip)]
    assert all(sum(len(f.data) for f in c.frames) <= CLIP_BYTES or len(c.frames) == 1 for c in clips)
    assert max(len(pack(c.frames)) for c in clips if len(c.frames) > 1) < MAX_ITEM_BYTES / 3
    counts = [len(c.frames) for c in clips if c.frames[0].index > 100 and abs(c.frames[0].index - 200) > 8]
    assert min(counts[:-1]) == 5, "and not in more clips than that"


def test_motion_within_the_merge_gap_is_one_event_and_beyond_it_two() -> None:
    near = play(EventSettings(post_roll_s=2, merge_gap_s=4, pre_roll_s=2), {20, 55}, 150)
    far = play(EventSettings(post_roll_s=2, merge_gap_s=4, pre_roll_s=2), {20, 65}, 150)
    assert sum(isinstance(x, Opened) for x in near) == 1
    assert sum(isinstance(x, Opened) for x in far) == 2


def test_a_long_event_is_cut_and_linked() -> None:
    out = play(EventSettings(longest_s=5), set(range(20, 160)), 230)
    assert [x.follows for x in out if isinstance(x, Opened)] == [0, 1, 2]
    assert [x.why for x in out if isinstance(x, Closed)] == ["long", "long", "quiet"]
    got = indices(out)
    assert got == list(range(got[0], got[-1] + 1))


def test_an_event_is_as_long_as_it_was_though_the_clock_is_set_meanwhile() -> None:
    out: list = []
    recorder = Recorder(EventSettings(pre_roll_s=2, post_roll_s=3, merge_gap_s=3), out.append)
    for i in range(100):
        f = frame(i, i / FPS)
        f = replace(f, wall_ns=f.wall_ns + 86400 * SECOND) if i > 30 else f
        recorder.frame(f)
        recorder.decision(f, MOVING if 20 <= i <= 40 else STILL)
    closed = out[-1]
    assert isinstance(closed, Closed) and closed.end_ns - closed.wall_ns == 5 * SECOND


def test_a_new_run_closes_the_event() -> None:
    out: list = []
    recorder = Recorder(EventSettings(), out.append)
    for i in range(30):
        recorder.frame(frame(i, i / FPS))
    recorder.decision(frame(29, 2.9), MOVING)
    recorder.frame(frame(0, 100.0))
    assert isinstance(out[-1], Closed) and out[-1].why == "source"
    assert not recorder.event


def test_a_decision_for_the_run_before_opens_nothing() -> None:
    out: list = []
    recorder = Recorder(EventSettings(), out.append)
    old = [frame(i, i / FPS) for i in range(30)]
    new = [frame(i, 3.1 + i / FPS) for i in range(20)]
    for f in (*old, *new[:5]):
        recorder.frame(f)
    recorder.decision(old[-1], MOVING)
    assert out == []
    recorder.decision(new[4], MOVING)
    assert indices(out) == [0, 1, 2, 3, 4], "nothing of the old run leads up to it"


def test_the_follower_of_a_long_event_tells_of_its_own_motion() -> None:
    out: list = []
    recorder = Recorder(EventSettings(longest_s=5), out.append)
    for i in range(120):
        recorder.frame(frame(i, i / FPS))
        recorder.decision(frame(i, i / FPS), Decision(True, 0.9 if i == 20 else 0.1, reason="motion"))
    recorder.end("stop")
    assert [x.decision.score for x in out if isinstance(x, Opened)] == [0.1, 0.1, 0.1]
    assert [x.peak for x in out if isinstance(x, Closed)] == [0.9, 0.1, 0.1]


def test_a_wait_for_motion_that_may_be_merged_is_bounded_in_bytes() -> None:
    settings = EventSettings(pre_roll_s=60, post_roll_s=1, merge_gap_s=60)
    recorder = Recorder(settings, lambda _: None, max_bytes=10_000)
    for i in range(300):
        recorder.frame(frame(i, i / FPS, b"x" * 1000))
        if i == 0:
            recorder.decision(frame(0, 0), MOVING)
    assert recorder.event == 1 and recorder._ring_bytes <= 10_000 and recorder.preroll_trimmed > 200


def test_the_ring_is_bounded_in_bytes_and_counts_what_it_forgot() -> None:
    recorder = Recorder(EventSettings(pre_roll_s=60), lambda _: None, max_bytes=10_000)
    for i in range(100):
        recorder.frame(frame(i, i / FPS, b"x" * 1000))
    assert recorder._ring_bytes <= 10_000
    assert recorder.preroll_trimmed == 90


def test_frames_between_merged_events_cannot_be_configured_away() -> None:
    with pytest.raises(ConfigError, match="merge_gap_s"):
        EventSettings(pre_roll_s=1, post_roll_s=1, merge_gap_s=5)


@given(
    st.sets(st.integers(0, 299), max_size=30),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.integers(0, 6),
)
def test_whatever_moves_every_frame_leaves_at_most_once_and_no_motion_is_missing(
    moving: set[int], pre_s: float, post_s: float, late: int
) -> None:
    out = play(EventSettings(pre_roll_s=pre_s, post_roll_s=post_s, merge_gap_s=post_s), moving, 300, late=late)
    got = indices(out)
    assert all(a < b for a, b in pairwise(got)), "in order, none twice"
    judged = {m for m in moving if m + late < 300}
    assert judged <= set(got)
    opens = [x for x in out if isinstance(x, Opened | Closed)]
    assert all(isinstance(x, Opened if i % 2 == 0 else Closed) for i, x in enumerate(opens))
    event = 0
    for x in out:
        event = x.event if isinstance(x, Opened) else event
        assert x.event == event


def play_groups(settings: EventSettings, moving: set[int], count: int, group: int = 20) -> list:
    """As `play`, with a keyframe each `group` frames."""
    out: list = []
    recorder = Recorder(settings, out.append)
    for i in range(count):
        at_ns = round(i / FPS * 1e9)
        f = Frame(Codec.H264, b"%d" % i, i % group == 0, at_ns, at_ns, i, gop=i % group)
        recorder.frame(f)
        if i in moving:
            recorder.decision(f, MOVING)
    recorder.end("stop")
    return out


@given(st.sets(st.integers(0, 199), max_size=8), st.integers(1, 45), st.sampled_from([0.0, 1.0, 2.5]))
def test_the_keyframe_of_every_frame_that_leaves_has_left_before_it(moving: set[int], group: int, pre_s: float) -> None:
    settings = EventSettings(pre_roll_s=pre_s, post_roll_s=1, merge_gap_s=1)
    got = indices(play_groups(settings, moving, 200, group))
    assert all(a < b for a, b in pairwise(got)), "in order, none twice"
    left = set(got)
    for i in got:
        assert set(range(i - i % group, i)) <= left, f"frame {i} cannot be decoded"
    assert moving <= left


def test_h264_pre_roll_begins_with_the_keyframe_before_it_and_clips_keep_their_length() -> None:
    out = play_groups(EventSettings(pre_roll_s=2), {50}, 70)
    got = indices(out)
    assert got[0] == 20, "2 s before 5.0 s lies in the group of frame 20"
    clips = [c for c in out if isinstance(c, Clip)]
    assert all(c.frames[-1].pts_ns - c.frames[0].pts_ns <= 1e9 for c in clips)
    assert any(not c.frames[0].keyframe for c in clips), "clips are cut inside a group, too"
