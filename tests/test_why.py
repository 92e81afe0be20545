"""What was held back and why, and the course of an event."""

import itertools
import json

from agent.frame import Box, Candidate, Decision
from agent.status import text
from agent.why import KEPT, SECOND, Ring, Trail, mark

HERE, THERE = Box(0.1, 0.1, 0.1, 0.2), Box(0.7, 0.7, 0.1, 0.1)


def hidden(reason: str, box: Box, evidence: float = 3.0) -> Decision:
    return Decision(False, hidden=(Candidate(reason, box, evidence, 14.0, "gate"),))


def test_what_goes_on_in_one_place_for_one_reason_is_one_entry_with_its_height() -> None:
    ring = Ring()
    for i, evidence in enumerate((3.0, 9.0, 5.0)):
        ring.judged(i * SECOND, hidden("fleeting", HERE, evidence))
    ring.judged(3 * SECOND, hidden("light", HERE))
    ring.judged(4 * SECOND, hidden("fleeting", THERE))
    newest_first = ring.json()
    assert [(e["reason"], e["count"]) for e in newest_first] == [("fleeting", 1), ("light", 1), ("fleeting", 3)]
    first = newest_first[-1]
    assert (first["evidence"], first["wanted"], first["zone"]) == (9.0, 14.0, "gate")
    assert (first["first_ns"], first["last_ns"]) == (0, 2 * SECOND)


def test_the_ring_is_bounded_and_counts_what_it_forgets() -> None:
    ring = Ring()
    for i in range(3 * KEPT):
        ring.judged(i * 10 * SECOND, hidden("light", HERE))
    assert len(ring.json()) <= KEPT + 8
    assert ring.dropped > KEPT


def test_motion_of_a_disarmed_camera_is_told() -> None:
    ring = Ring()
    ring.judged(0, Decision(True, 0.1, (HERE,), "motion", zone="gate"), "disarmed")
    assert [(e["reason"], e["zone"]) for e in ring.json()] == [("disarmed", "gate")]


def test_a_reader_is_told_what_changed_since_it_asked() -> None:
    ring = Ring()
    ring.judged(0, hidden("light", HERE))
    ring.event(7, SECOND, Decision(True, 0.1, (THERE,), "motion", zone="gate"))
    first = ring.since("", 0)
    assert [(e["reason"], e["event"]) for e in first["entries"]] == [("light", 0), ("motion", 7)]
    assert ring.since(first["run"], first["change"])["entries"] == []
    ring.judged(SECOND, hidden("light", HERE))
    ring.judged(SECOND, hidden("small", THERE))
    then = ring.since(first["run"], first["change"])
    assert [(e["reason"], e["count"]) for e in then["entries"]] == [("small", 1), ("light", 2)]
    assert then["entries"][1]["id"] == first["entries"][0]["id"]
    assert len(Ring().since(first["run"], first["change"])["entries"]) == 0
    assert len(ring.since("another", 99)["entries"]) == 3, "another run: all of it"


def test_what_was_too_brief_and_then_made_an_event_is_the_events_beginning() -> None:
    ring = Ring()
    ring.judged(0, hidden("fleeting", HERE))
    ring.judged(0, hidden("fleeting", THERE))
    before = ring.since("", 0)
    ring.event(7, 0, Decision(True, 0.1, (HERE,), "motion"))
    assert [(e["reason"], e["event"]) for e in ring.json()] == [("fleeting", 0), ("motion", 7)]
    [then] = ring.since(before["run"], before["change"])["entries"]
    assert then["id"] == before["entries"][1]["id"], "who has the first is told that it became the second"


def test_the_course_of_a_long_event_thins_out_and_fits_its_record() -> None:
    trail, boxes = Trail(0), tuple(Box(0.1234, 0.1234, 0.1234, 0.1234) for _ in range(9))
    for n in range(50 * 600):
        trail.judged(n * SECOND // 50, Decision(True, 0.1234, boxes, "motion"))
    course = trail.json()["course"]
    assert 300 <= len(course) <= 601
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(course)]
    assert course[0][0] == 0 and course[-1][0] > 590_000 and max(gaps) <= 2 * min(gaps)
    assert len(json.dumps(trail.json(), separators=(",", ":"))) < 250_000, "a record of the wire is 256 KiB at most"


def test_a_trail_has_a_grid_for_each_second() -> None:
    trail = Trail(10 * SECOND)
    trail.judged(10 * SECOND, Decision(True, 0.02, (HERE,), zone="gate"))
    trail.judged(10 * SECOND + 1, Decision(True, 0.01, (THERE,)))
    trail.judged(12 * SECOND, Decision(True, 0.04, (Box(0.5, 0.5, 0.4, 0.4),)))
    trail.judged(13 * SECOND, Decision(False))
    trail.judged(5000 * SECOND, Decision(True, 1, (HERE,)))
    told = trail.json()
    assert told["zone"] == "gate"
    assert told["biggest"] == [0.5, 0.5, 0.4, 0.4]
    assert [(t["s"], t["score"]) for t in told["trail"]] == [(0, 0.02), (2, 0.04)]
    assert len(bytes.fromhex(told["trail"][0]["grid"])) == 32


def test_the_grid_reads_like_the_picture() -> None:
    grid = bytearray(32)
    mark(grid, Box(0, 0, 1 / 16, 1 / 16))
    mark(grid, Box(15 / 16, 15 / 16, 1 / 16, 1 / 16))
    assert grid == b"\x80" + bytes(30) + b"\x01"
    mark(grid, Box(0, 0, 1, 1))
    assert grid == b"\xff" * 32


def test_people_read_why() -> None:
    ring = Ring()
    ring.judged(0, hidden("light", HERE))
    ring.event(7, 0, Decision(True, 0.1, (HERE,), "motion"))
    camera = {
        "name": "porch", "ended": False, "up": True, "since_ns": 0, "fps": 5.0, "size": None, "event": 0,
        "counters": {"frames": 1, "lost_frames": 0, "events": 0, "clips": 0}, "spool_error": "", "sinks": [],
        "armed": True, "held_back": ring.json(),
    }  # fmt: skip
    assert "held back" not in text([camera])
    said = text([camera], because=True)
    assert "only the light changed for 0.0 s, 10x20 % at 10,10 %, evidence 3 of 14, zone gate" in said
    assert "event 7: something moved, 10x20 % at 10,10 %, 10.0%" in said
