"""Video nodes by what their drivers answer; real drivers are in tests/devices."""

import struct

import pytest

from agent.discover import v4l2
from agent.discover.v4l2 import Format


class Driver:
    """Answers the four questions as the kernel's header lays them out: one MJPEG, one raw format of any size."""

    def __init__(self, capabilities: int = 0x85200001, device: int = 0x04200001) -> None:
        self.capabilities, self.device = capabilities, device

    def __call__(self, code: int, data: bytes) -> bytes:
        index = struct.unpack_from("=I", data)[0]
        if code == 0x80685600:
            return struct.pack(
                "=16s32s32s3I12x", b"uvcvideo", b"HD\x1bCam", b"usb-1", 0x60C00, self.capabilities, self.device
            )
        if code == 0xC0405602 and index < 2:
            kind = struct.unpack_from("=I", data, 4)[0]
            return struct.pack("=3I32s4s16x", index, kind, 0, b"", (b"MJPG", b"YUYV")[index])
        if code == 0xC02C564A:
            pixels = data[4:8]
            if pixels == b"MJPG" and index < 2:
                size = ((1280, 720), (640, 480))[index]
                return struct.pack("=I4sI2I16x8x", index, pixels, 1, *size)
            if pixels == b"YUYV" and index == 0:
                return struct.pack("=I4sI6I8x", index, pixels, 3, 16, 1920, 8, 16, 1080, 8)
        if code == 0xC034564B and index < 2:
            pixels, width, height = struct.unpack_from("=4sII", data, 4)
            if pixels == b"MJPG":
                return struct.pack("=I4sIII2I16x8x", index, pixels, width, height, 1, 1, (30, 15)[index])
            if index == 0:
                return struct.pack("=I4sIII6I8x", index, pixels, width, height, 3, 1, 5, 1, 1, 1, 1)
        raise OSError(22, "Invalid argument")


def test_formats_sizes_and_rates_are_read() -> None:
    node = v4l2._ask("/dev/video0", Driver())
    assert (node.driver, node.card, node.bus) == ("uvcvideo", "HD?Cam", "usb-1")
    assert node.formats == (
        Format("MJPG", ((1280, 720, 30.0), (640, 480, 30.0))),
        Format("YUYV", ((1920, 1080, 5.0),)),
    )
    assert "; ".join(map(str, node.formats)) == "MJPG up to 1280x720 at 30; YUYV up to 1920x1080 at 5"


@pytest.mark.parametrize("device", [0x04200000, 0x04800000, 0x08000000])
def test_a_node_that_cannot_capture_has_no_formats(device: int) -> None:
    assert v4l2._ask("/dev/video1", Driver(device=device)).formats == ()


def test_the_structures_are_as_long_as_the_kernels() -> None:
    sizes = [s.size for s in (v4l2._CAPABILITY, v4l2._FORMAT, v4l2._SIZE, v4l2._INTERVAL)]
    codes = [v4l2._QUERYCAP, v4l2._ENUM_FMT, v4l2._ENUM_SIZES, v4l2._ENUM_INTERVALS]
    assert sizes == [104, 64, 44, 52] == [code >> 16 & 0x3FFF for code in codes]
