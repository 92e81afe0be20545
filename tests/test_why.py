"""What was held back and why, and the course of an event."""

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
    camera = {
        "name": "porch", "ended": False, "up": True, "since_ns": 0, "fps": 5.0, "size": None, "event": 0,
        "counters": {"frames": 1, "lost_frames": 0, "events": 0, "clips": 0}, "spool_error": "", "sinks": [],
        "armed": True, "held_back": ring.json(),
    }  # fmt: skip
    assert "held back" not in text([camera])
    assert "only the light changed for 0.0 s, 10x20 % at 10,10 %, evidence 3 of 14, zone gate" in text(
        [camera], because=True
    )
