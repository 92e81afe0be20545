"""What the detector sees of a frame, whatever its codec; one eye for each camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.frame import Codec, Frame
from agent.motion.luma import luma, shrink

if TYPE_CHECKING:
    from agent.motion.leaning import LeaningEye
    from agent.motion.planes import Plane


class Eye:
    """Small grey planes (see `agent.motion.luma`); of H.264 and H.265 from the smaller stream where there is one."""

    def __init__(self) -> None:
        self._leaning: LeaningEye | None = None

    def see(self, frame: Frame) -> Plane | None:
        """None: nothing newer than the last time can be afforded for now. Raises ValueError as `luma` does."""
        frame = frame.small or frame
        if frame.luma is not None or frame.codec is Codec.JPEG:
            return luma(frame)
        if self._leaning is None:
            from agent.motion.leaning import LeaningEye

            self._leaning = LeaningEye()
        plane = self._leaning.look(frame)
        return None if plane is None else shrink(plane)

    def still(self) -> bytes:
        """A JPEG, marked as derived, of an H.264 or H.265 picture that was just seen; b"" where there is none."""
        return self._leaning.still() if self._leaning is not None else b""
