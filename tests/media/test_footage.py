"""Films: original bytes wherever the file has JPEGs, one clear line where it has none."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import UsageError
from agent.media.footage import AviFootage, CodedFootage, FolderFootage, Reel, open_footage
from tests.pictures import avi, jpeg, jpegs

PICTURES = jpegs(5)


@pytest.mark.parametrize("sound", [False, True])
def test_an_avi_gives_its_stored_bytes_at_its_own_pace(tmp_path: Path, sound: bool) -> None:
    path = tmp_path / "film.avi"
    path.write_bytes(avi(PICTURES, 2, 25, sound=sound))
    film = open_footage(path)
    assert isinstance(film, AviFootage) and film.fps == 12.5 and len(film) == 5
    assert list(film) == PICTURES == list(film)
    assert open_footage(path, 3).fps == 3


def test_an_avi_of_another_writer_gives_what_that_stored(tmp_path: Path) -> None:
    path = tmp_path / "opencv.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 48))
    for i in range(7):
        writer.write(np.full((48, 64, 3), i * 30, np.uint8))
    writer.release()
    film = open_footage(path)
    assert isinstance(film, AviFootage) and film.fps == 15
    pictures = list(film)
    assert len(pictures) == 7
    raw = path.read_bytes()
    assert all(raw.count(p) == 1 and p.startswith(b"\xff\xd8") for p in pictures)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize("kind", ["avi", "mkv", "mp4", "mov"])
def test_ffmpeg_stores_the_bytes_that_come_out(tmp_path: Path, kind: str) -> None:
    for i, p in enumerate(PICTURES):
        (tmp_path / f"{i}.jpg").write_bytes(p)
    path = tmp_path / f"film.{kind}"
    command = ["ffmpeg", "-v", "error", "-framerate", "8", "-i", str(tmp_path / "%d.jpg"), "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    film = open_footage(path)
    assert film.fps == 8 and list(film) == PICTURES


def test_a_dropped_picture_is_the_one_before_once_more(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    path.write_bytes(avi([PICTURES[0], b"", PICTURES[1]]))
    assert list(open_footage(path)) == [PICTURES[0], PICTURES[0], PICTURES[1]]


def test_an_avi_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    path.write_bytes(avi(PICTURES)[:-100])
    assert list(open_footage(path)) == PICTURES[:-1]


def test_a_folder_gives_its_files_by_name(tmp_path: Path) -> None:
    for name, p in zip(("b.JPG", "a.jpeg", "c.jpg", "note.txt"), PICTURES, strict=False):
        (tmp_path / name).write_bytes(p)
    film = open_footage(tmp_path)
    assert isinstance(film, FolderFootage) and film.fps == 10
    assert list(film) == [PICTURES[1], PICTURES[0], PICTURES[2]]


def test_a_row_of_jpegs_in_one_file_is_a_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mjpeg"
    path.write_bytes(b"".join(PICTURES))
    assert list(open_footage(path)) == PICTURES


def test_other_videos_are_coded(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12, (64, 48))
    for i in range(6):
        writer.write(np.full((48, 64, 3), i * 40, np.uint8))
    writer.release()
    film = open_footage(path)
    assert isinstance(film, CodedFootage) and film.fps == 12
    assert len(list(film)) == 6 == len(list(film))
    assert next(iter(film)).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.avi", b"no film at all, just text that goes on for a while"),
        ("empty.avi", b""),
        ("nothing.avi", avi([])),
        ("head.avi", avi(PICTURES)[:200]),
        ("half.jpg", jpeg(1)[:300]),
        ("missing.mp4", None),
    ],
)
def test_what_is_no_film_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=name) as caught:
        open_footage(path)
    assert caught.value.exit_code == 66 and "\n" not in str(caught.value)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no JPEG") as caught:
        open_footage(tmp_path)
    assert caught.value.exit_code == 66 and str(tmp_path) in str(caught.value)


async def test_a_reel_winds_back_and_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    path.write_bytes(avi(PICTURES))
    reel = Reel(open_footage(path))
    assert [await reel.next() for _ in range(6)] == [*PICTURES, None]
    reel.rewind()
    assert await reel.next() == PICTURES[0]
    task = asyncio.create_task(reel.next())
    await asyncio.sleep(0)
    task.cancel()
    await reel.close()
