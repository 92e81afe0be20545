"""Frames for tests: small, and each different."""

from agent.frame import Codec, Frame

SECOND = 1_000_000_000
WALL = 1_795_000_000 * SECOND


def frame(index: int, at_s: float, data: bytes = b"", keyframe: bool = True) -> Frame:
    """A frame `at_s` seconds after the start of its run."""
    at_ns = round(at_s * SECOND)
    return Frame(Codec.JPEG, data or b"\xff\xd8frame %d\xff\xd9" % index, keyframe, at_ns, WALL + at_ns, index)
