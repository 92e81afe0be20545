"""Items into files: which, under which names, whatever the order in which they come."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import time

import pytest

from agent.errors import ConfigError
from agent.frame import Codec, Frame, Item, ItemType
from agent.media import clip
from agent.media.avi import read_index
from agent.outbox import MemoryOutbox
from agent.sinks import binder as binding
from agent.sinks.binder import Binder, File, FileRules
from agent.sinks.naming import Moment, check, path
from tests.server.pictures import frame, jpeg, put_event

AT_NS = 1_795_420_800_250_000_000


def items(number: int = 1, frames: int = 10, close: bool = True) -> tuple[list[Item], list[bytes]]:
    box = MemoryOutbox("porch")
    pictures = put_event(box, number, AT_NS, frames, close, told=False)
    return [i for i, _ in box._items.values()], pictures


def content(file: File) -> bytes:
    data = b"".join(file.body.blocks())
    assert len(data) == file.body.length
    return data


def bound(given: list[Item], quiet: float | None = 0.6, **rules: object) -> list[tuple[str, bytes, list[int]]]:
    """(path, content, numbers of the items that it holds) of each file in order."""
    out = []
    with Binder("porch", FileRules(**rules)) as binder:  # type: ignore[arg-type]
        for item in given:
            out += [(f.path, content(f), [i.seq for i in f.items]) for f in binder.add(item, 0.0)]
        if quiet is not None:
            out += [(f.path, content(f), [i.seq for i in f.items]) for f in binder.quiet(quiet)]
    return out


def pictures_of(avi: bytes) -> list[bytes]:
    return [avi[at : at + n] for at, n in read_index(io.BytesIO(avi)).pictures]


def stem(wall_ns: int = AT_NS, event: int = 1) -> str:
    return path("{camera}/{date}/{time}-{event}", Moment("porch", wall_ns, event, 1), "x")[:-2]


def test_an_event_is_a_picture_at_once_and_a_film_at_its_end() -> None:
    given, pictures = items()
    files = bound(given)
    assert [f[0] for f in files] == [stem() + s for s in (".json", ".jpg", ".json", ".avi")] + [""]
    assert files[1][1:] == (pictures[0], []), "acknowledged by nothing: the film holds it too"
    assert pictures_of(files[3][1]) == pictures
    assert [f[2] for f in files[2:]] == [[], [2, 3, 4, 5], [6]], "the closing record waits for its film"


def test_any_order_makes_the_same_film() -> None:
    given, pictures = items()
    for seed in range(20):
        mixed = given[:]
        random.Random(seed).shuffle(mixed)
        films = [f for f in bound(mixed) if f[0].endswith(".avi")]
        assert [pictures_of(f[1]) for f in films] == [pictures] and films[0][0] == stem() + ".avi"


def test_a_film_is_whole_as_soon_as_its_event_says_how_many_pictures_it_has() -> None:
    given, pictures = items()
    closing = given[-1]
    told = closing.payload[:-1] + b',"frames":10}'
    last = dataclasses.replace(closing, payload=told, sha256=b"")
    for order in ([*given[:-1], last], [last, *given[:-1]]):
        film, closing = bound(order, quiet=None)[-2:]
        assert film[0].endswith(".avi") and pictures_of(film[1]) == pictures
        assert closing[2] == [last.seq]


def test_a_repeat_of_a_cut_film_needs_no_waiting() -> None:
    given, pictures = items()
    acked: set[int] = set()
    for path_, _, seqs in bound(given):
        if path_.endswith(".avi"):
            break  # here the line was cut
        acked.update(seqs)
    film = next(f for f in bound([i for i in given if i.seq not in acked], quiet=0.6) if f[0].endswith(".avi"))
    assert pictures_of(film[1]) == pictures


def test_an_event_that_goes_on_is_not_finished_by_a_pause_but_by_its_death() -> None:
    given, pictures = items(close=False)
    assert not [f for f in bound(given, quiet=30.0) if f[0].endswith(".avi")]
    assert pictures_of(bound(given, quiet=61.0)[-1][1]) == pictures


def test_long_events_leave_in_stretches_while_they_go_on() -> None:
    given, pictures = items(frames=40, close=False)  # four seconds, clips of three pictures
    files = [f for f in bound(given, film_s=1) if f[0].endswith(".avi")]
    assert [len(f[2]) for f in files] == [4, 3, 3], "the newest stretch may still grow"
    assert [p for f in files for p in pictures_of(f[1])] == pictures[:30]
    assert len({f[0] for f in files}) == 3


def test_a_late_clip_never_overwrites_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "MAX_OPEN", 0)  # every clip finishes its film: as with too much open
    given, pictures = items()
    files = [f for f in bound(given) if f[0].endswith(".avi")]
    assert len({f[0] for f in files}) == len(files) == 4
    assert [p for f in files for p in pictures_of(f[1])] == pictures


def test_too_much_open_is_finished_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "MAX_OPEN_BYTES", 60_000)
    given = [i for n in (1, 2, 3) for i in items(n, close=False)[0]]
    assert [f[0] for f in bound(given, None) if f[0].endswith(".avi")] == [stem(event=1) + ".avi"]


def test_pictures_one_by_one() -> None:
    given, pictures = items(frames=4)
    files = [f for f in bound(given, clips="pictures") if f[0].endswith(".jpg")]
    assert [f[1] for f in files] == pictures
    assert [f[2] for f in files] == [[], [], [2], [3]], "a clip is delivered with its last picture"
    assert len({f[0] for f in files}) == 4


def test_records_only_where_they_are_wanted() -> None:
    given, _ = items()
    files = bound(given, records=False)
    assert not [f for f in files if f[0].endswith(".json")]
    assert sorted(seq for f in files for seq in f[2]) == [i.seq for i in given], "they count as delivered all the same"


def test_a_still_is_a_file_at_once() -> None:
    still = Item("porch", "0" * 16, 7, ItemType.STILL, 0, AT_NS, jpeg(1), b"")
    assert bound([still]) == [(stem(event=0) + ".jpg", jpeg(1), [7])]


def test_motion_pictures_without_tables_become_files_that_viewers_open() -> None:
    bare = jpeg(1)
    at = bare.index(b"\xff\xc4")
    while bare[at : at + 2] == b"\xff\xc4":
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
    still = Item("porch", "0" * 16, 7, ItemType.STILL, 0, AT_NS, bare, b"")
    assert b"\xff\xc4" not in bare and b"\xff\xc4" in bound([still])[0][1]


def test_h264_is_written_as_the_stream_that_players_know() -> None:
    units = [b"\0\0\0\1\x65" + bytes([n]) * 50 for n in range(4)]
    frames = tuple(Frame(Codec.H264, u, n == 0, 0, AT_NS + n, n) for n, u in enumerate(units))
    one = Item("porch", "0" * 16, 1, ItemType.CLIP, 1, AT_NS, clip.pack(frames), b"")
    ended = Item("porch", "0" * 16, 2, ItemType.EVENT, 1, AT_NS, b'{"state":"closed","frames":4}', b"")
    assert bound([one, ended])[-2] == (stem() + ".h264", b"".join(units), [1])


def test_nothing_of_the_films_stays_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    bound(items(close=False)[0], None)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_clip_larger_than_a_block() -> None:
    big = jpeg(3) + b"\0" * 200_000
    frames = (frame(0), Frame(Codec.JPEG, big, True, 0, time.time_ns(), 1))
    one = Item("porch", "0" * 16, 1, ItemType.CLIP, 1, AT_NS, clip.pack(frames), b"")
    assert pictures_of(bound([one], 61.0)[-1][1])[1] == big


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "expected names"),
        ("/etc/passwd", "expected names"),
        ("a/../b", "expected names"),
        ("a//b", "expected names"),
        ("a\\b", "expected names"),
        ("a\nb", "expected names"),
        ("{camera", "expected '}'"),
        ("{nose}", "unknown word '{nose}' (one of camera"),
        ("{}", "unknown word"),
        ("{camera.__class__}", "unknown word"),
        ("{time:>9}", "stands alone"),
        ("{time!r}", "stands alone"),
    ],
)
def test_templates_are_checked(template: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^path ") as e:
        check(template)
    assert says in str(e.value)


def test_the_suffix_takes_the_place_of_the_templates_own() -> None:
    moment = Moment("porch", AT_NS, 3, 9)
    assert path("x.y/{event}", moment, "avi") == "x.y/3.avi"
    assert path("{event}.jpeg", moment, "avi") == "3.avi"
    assert path("{camera}_{seq}", moment, "jpg") == "porch_9.jpg"


@pytest.mark.parametrize("film_s", [0.0, 601.0])
def test_lengths_are_checked(film_s: float) -> None:
    with pytest.raises(ConfigError, match="film_s"):
        FileRules(film_s=film_s)
