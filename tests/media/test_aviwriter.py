"""AVI files made here are read back by our reader and by OpenCV's, picture for picture."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.media import aviwriter
from agent.media.avi import read_index
from tests.server.pictures import jpeg


def avi(pictures: list[bytes], step_us: int = 100_000) -> bytes:
    """An empty picture stands for the one before."""
    sizes = [len(p) for p in pictures]
    out = [aviwriter.head(sizes, step_us, 160, 120)]
    for p in pictures:
        out += [aviwriter.chunk(len(p)), p, aviwriter.padding(len(p))]
    whole = b"".join([*out, aviwriter.tail(sizes)])
    assert len(whole) == aviwriter.length(sizes)
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    return whole


def test_what_is_written_is_read_back() -> None:
    pictures = [jpeg(n) + b"\0" * (n % 2) for n in range(7)]  # odd lengths too
    whole = avi(pictures)
    index = read_index(io.BytesIO(whole))
    assert index.fps == pytest.approx(10)
    assert [whole[at : at + n] for at, n in index.pictures] == pictures


@pytest.mark.parametrize("count", [1, 12])
def test_other_peoples_reader_plays_it(tmp_path: Path, count: int) -> None:
    path = tmp_path / "film.avi"
    path.write_bytes(avi([jpeg(n) for n in range(count)], 40_000))
    film = cv2.VideoCapture(str(path))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == count
    for n in range(count):
        ok, picture = film.read()
        assert ok and picture.shape == (120, 160, 3)
        own = cv2.imdecode(np.frombuffer(jpeg(n), np.uint8), cv2.IMREAD_COLOR)
        assert abs(picture.astype(int) - own.astype(int)).mean() < 6, "the same picture, up to the decoder's rounding"
    assert not film.read()[0]
    film.release()


def test_the_index_points_at_the_pictures() -> None:
    pictures = [jpeg(n) for n in range(3)]
    whole = avi(pictures)
    at = whole.index(b"idx1") + 8
    movi = whole.index(b"movi")
    for i, p in enumerate(pictures):
        name, flags = whole[at + 16 * i : at + 16 * i + 4], whole[at + 16 * i + 4]
        offset = int.from_bytes(whole[at + 16 * i + 8 : at + 16 * i + 12], "little")
        size = int.from_bytes(whole[at + 16 * i + 12 : at + 16 * i + 16], "little")
        assert (name, flags, size) == (b"00dc", 0x10, len(p))
        assert whole[movi + offset + 8 : movi + offset + 8 + size] == p


def test_pace_keeps_the_time() -> None:
    second = 1_000_000_000
    assert aviwriter.pace([0]) == (100_000, [1])
    assert aviwriter.pace([0, second, 2 * second]) == (1_000_000, [1, 1, 1])
    step, shown = aviwriter.pace([0, 100_000_000, 200_000_000, 700_000_000, 800_000_000])
    assert (step, shown) == (100_000, [1, 1, 5, 1, 1]), "where pictures are missing the one before stands longer"
    assert aviwriter.pace([0, 10, 3600 * second, 3600 * second + 10])[1][1] == aviwriter.MAX_REPEATS
    assert aviwriter.pace([5 * second, 4 * second])[1] == [1, 1], "a clock that was set back"
