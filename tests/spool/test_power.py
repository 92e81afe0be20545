"""Any life of a spool, with errors of its disk, ended by power cuts at any call: the promise holds after each."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.frame import Item, ItemType, Worth
from agent.spool import direct
from agent.spool import disk as disks
from agent.spool.acks import Acks, Peer
from agent.spool.disk import SMALL_BYTES, Disk, Full
from agent.spool.origin import Origin
from agent.spool.ranges import Ranges
from agent.spool.record import BLOCK, HEAD, unpack
from agent.spool.segment import Rotten, Segment
from tests.fakes.card import CALLS, ERRORS, Card, PowerCut

QUOTA = SMALL_BYTES + 48 * BLOCK
SIZES = (0, 100, 3000, 4100, 15_000, 30_000)

Step = tuple[str, int, int]
Chapter = tuple[list[Step], bool, int, int]
_few, _many = st.integers(0, 5), st.integers(0, 60)
_steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([2, 2, 1, 0]), st.integers(0, 8 * len(SIZES) - 1)),
    st.tuples(st.just("sync"), st.just(0), st.just(0)),
    st.tuples(st.just("ack"), _few, _many),
    st.tuples(st.just("resume"), _many, st.sampled_from([0, 0, 1])),
    st.tuples(st.just("fail"), st.sampled_from(range(2 * len(CALLS))), _few),
    st.tuples(st.just("fail"), st.sampled_from([CALLS.index("fdatasync"), 2 * len(CALLS) - 1]), _few),
    st.tuples(st.sampled_from(["skip", "note"]), _few, st.just(0)),
)
# How it ends: by a kill or a power cut after so many calls (0: after the last step), and what the disk chose to keep.
_history = st.lists(_steps, min_size=15, max_size=60)
_lives = st.tuples(
    _history,
    st.booleans(),
    st.sampled_from([0, 0, 1]).flatmap(lambda n: st.integers(0, n * 400)),
    st.integers(0, 2**32),
)


class Life:
    """A spool's writer as `agent.spool.store` is one, and what it promised."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.card = Card(folder, monkeypatch)
        self.items: dict[int, Item] = {}
        self.promised: set[int] = set()
        self.sent = 0
        self.acked: set[int] = set()
        self.stored: set[int] = set()  # acknowledged at any time: what the other end lost since is its loss
        self.over: set[int] = set()
        self.doubted: set[int] = set()  # also where a sync failed, and no later one tells what became of them there
        self.back: set[int] = set()  # of those, what was found again
        self.former: set[int] = set()
        self.cameras = 0  # of the same name, one after the other
        self.noted: set[int] = set()  # acknowledged by one that was named, and the file says so
        self.disk: Disk | None = None
        self._opened: list[Disk] = []
        self.waiting: list[tuple[Item, Worth]] = []
        self.unsynced: list[tuple[Item, Worth]] = []

    def live(self, steps: list[Step], powered: bool, cut_at: int, seed: int) -> None:
        self.card.cut_at = cut_at if powered and cut_at else -1
        with suppress(PowerCut):
            self._open()
            for what, a, b in steps:
                getattr(self, "_" + what)(a, b)
        evicted = Ranges()
        if self.disk is not None:
            evicted = self.disk.tombstones.numbers
            self._close()
        self.promised = {s for s in self.promised if s not in evicted}
        if powered:
            self.card.cut(random.Random(seed))
        self.card.well()
        self._check()

    def _open(self) -> None:
        self.disk = None
        self.sick = False
        self.waiting.clear()
        self.unsynced.clear()
        self.disk = self._disk()
        assert self.disk.next_seq > self.sent, "a number that was sent would be used again"
        self.seq = self.disk.next_seq
        acked, former = self.disk.acked["a"], self.disk.acks.peer("a").former
        self.acked = {s for s in range(1, self.seq) if s in acked}
        self.former = {s for s in range(1, self.seq) if s in former}

    def _disk(self) -> Disk:
        self._opened.append(Disk(self.card.folder, QUOTA, ("a",), 0.0))
        return self._opened[-1]

    def _close(self) -> None:
        """As the kernel does when the process is gone."""
        while self._opened:
            disk = self._opened.pop()
            disk._lock_file.close()
            for segment in disk.shelf.segments:
                if segment.open:
                    os.close(segment._fd)

    def _put(self, worth: int, many: int) -> None:
        for _ in range(1 + many // len(SIZES)):
            self._write([*self.waiting, (self._item(SIZES[many % len(SIZES)]), Worth(worth))])

    def _item(self, size: int) -> Item:
        assert self.disk
        data = random.Random(self.seq).randbytes(size)
        one = Item("porch", self.disk.id, self.seq, ItemType.CLIP, 1, self.seq, data, Item.digest(data))
        self.items[self.seq] = one
        self.seq += 1
        return one

    def _skip(self, count: int, _: int) -> None:
        """Numbers whose items no memory had room for."""
        assert self.disk
        if count:
            self.disk.give_up(self.seq, self.seq + count - 1, "slow-disk")
        self.seq += count

    def _write(self, items: list[tuple[Item, Worth]]) -> None:
        assert self.disk
        self.waiting = []
        for i, (item, worth) in enumerate(items):
            if self.sick and self.disk.acks.everyone_has(item.seq):
                continue
            try:
                before = {s.path.name: list(s.seqs) for s in self.disk.shelf.segments}
                self.disk.write(item, worth)
                while self.card.renamed:
                    self.over |= set(before.get(self.card.renamed.pop(), ()))
                assert self.disk.held <= QUOTA
                self.over.discard(item.seq)
                self.unsynced.append((item, worth))
            except Full:
                self.waiting.append((item, worth))
            except OSError:
                self.card.renamed.clear()
                self._abandon()
                self.waiting += items[i:]
                break
        if self.disk.mark >= self.seq - 1:
            self.sent = max(self.sent, self.seq - 1)

    def _abandon(self) -> None:
        assert self.disk
        self.sick = True
        self.disk.abandon()
        self.promised |= {i.seq for i, _ in self.unsynced if self.disk.knows(i.seq)}
        self.doubted |= {i.seq for i, _ in self.unsynced if not self.disk.knows(i.seq)}
        self.waiting = [one for one in self.unsynced if not self.disk.knows(one[0].seq)] + self.waiting
        self.unsynced.clear()

    def _sync(self, *_: int) -> None:
        assert self.disk
        self._write(self.waiting)
        try:
            self.disk.sync()
            self.promised |= {i.seq for i, _ in self.unsynced}
            self.unsynced.clear()
            self.sick = False
        except OSError:
            self._abandon()
        held = sum(p.stat().st_size for p in self.card.folder.glob("*.seg"))
        assert self.disk.shelf.bytes == held

    def _ack(self, back: int, count: int) -> None:
        assert self.disk
        last = min(self.sent, self.seq - 1 - back)
        if last >= 1:
            first = max(1, last - count)
            self.acked |= set(range(first, last + 1))
            self.stored |= self.acked
            self.disk.acked["a"].add(first, last)

    def _resume(self, upto: int, another: int) -> None:
        """The other end has less, being an old copy of itself, or nothing, being another camera: what is not here any
        more is declared, apart from what a former camera had."""
        assert self.disk
        told = {s for s in self.acked if s <= upto and not another}
        self.cameras += another
        if self.disk.acks.peer("a").camera_id not in ("", f"camera-{self.cameras}"):
            self.former |= self.acked
        self.disk.acks.resume("a", Ranges((s, s) for s in told), f"camera-{self.cameras}")
        self.acked = told | self.former
        self.noted &= self.acked
        self.over &= self.acked  # what the other end lost may come back
        here = [i.seq for i, _ in self.waiting + self.unsynced]
        self.disk.declare_gone("a", self.seq - 1, here)

    def _fail(self, what: int, nth: int) -> None:
        self.card.fail(CALLS[what % len(CALLS)], ERRORS[what // len(CALLS)], nth)

    def _note(self, *_: int) -> None:
        assert self.disk
        with suppress(OSError):
            self.disk.tombstones.save()
            self.disk.acks.save()
            if self.disk.acks.peer("a").camera_id:
                self.noted = set(self.acked)

    def _check(self) -> None:
        """What the next start finds."""
        disk = self._disk()
        kept = [seq for seq, _ in disk.shelf.kept()]
        gone, acked = disk.tombstones.numbers, disk.acked["a"]
        assert len(kept) == len(set(kept)), "an item in two places"
        assert disk.next_seq > self.sent
        for seq in kept:
            try:
                assert disk.shelf.read("porch", seq) == self.items[seq], f"{seq} is another one"
            except Rotten:
                assert seq in gone or seq in acked or seq not in self.promised, f"{seq} was promised and is rotten"
        for seq in self.promised - self.stored:
            assert seq in kept, f"{seq} was promised and is not there"
            assert seq not in gone and seq not in acked, f"{seq} was promised and would not be sent"
        self.back |= self.over & set(kept)
        for seq in self.over & set(kept):
            assert seq in self.doubted, f"{seq} was written over, and came back"
            assert seq in acked, f"{seq} was written over, came back and would be sent again"
        known = Ranges([*gone.all(), *acked.all(), *((s, s) for s in kept)])
        assert known.holes(1, disk.next_seq - 1) == [], "numbers that are nowhere"
        assert disk.shelf.bytes == sum(p.stat().st_size for p in self.card.folder.glob("*.seg"))
        disk.acks.resume("a", Ranges(), "another")
        for seq in self.noted:
            assert seq in disk.acked["a"], f"{seq} was a deleted camera's and would come back"
        self._close()


def lived(
    chapters: list[Chapter], bug: Callable[[pytest.MonkeyPatch], None] | None = None, large: int = direct.LARGE
) -> Life:
    """Raises what was not as promised."""
    folder = Path(tempfile.mkdtemp(prefix="ca-card-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Origin, "_place", lambda self: "here")  # what is left is the card, not a copy of it
        patch.setattr(direct, "LARGE", large)
        patch.setattr(direct, "CHUNK", 4 * BLOCK)  # several for one item
        if bug:
            bug(patch)
        life = Life(folder / "spool", patch)
        try:
            for chapter in chapters:
                life.live(*chapter)
        finally:
            life._close()
            patch.undo()
            shutil.rmtree(folder)
    return life


def lives(
    examples: int,
    bug: Callable[[pytest.MonkeyPatch], None] | None = None,
    *,
    always_the_same: bool,
    large: int = direct.LARGE,
) -> None:
    """Live so many times; raises what was not as promised, made as simple as possible.

    `large`: from how many bytes on items are written around the page cache.
    """
    phases = [Phase.generate] if bug else [Phase.generate, Phase.shrink]

    @settings(
        max_examples=examples,
        database=None,
        derandomize=always_the_same,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_lives, min_size=1, max_size=3))
    def run(chapters: list[Chapter]) -> None:
        lived(chapters, bug, large)

    run()


def test_the_promise_holds_after_any_power_cut() -> None:
    lives(150, always_the_same=True)


def test_the_promise_holds_for_what_is_written_around_the_page_cache() -> None:
    lives(150, always_the_same=True, large=1)


def test_what_a_failed_sync_left_behind_is_not_sent_again() -> None:
    """Its later copy is delivered and written over; the power cut undoes what cut the first one off."""
    one, eight = ("put", Worth.HEAD, 0), ("put", Worth.HEAD, 7 * len(SIZES))
    steps = [one, ("sync", 0, 0), one, ("fail", CALLS.index("fdatasync"), 0), *[eight] * 5, ("ack", 0, 40), eight]
    assert any(lived([(steps, True, 0, seed)]).back for seed in range(30)), "else this test could not fail"


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_promise_holds_after_very_many_power_cuts() -> None:
    for large in (1, direct.LARGE):
        lives(int(os.environ.get("CAMERA_AGENT_POWER_CUTS", "10000")), always_the_same=False, large=large)


def any_record_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Segment, "_head", lambda self, fd, at: unpack(os.pread(fd, HEAD.size, at), at))


def written_over_before_the_new_name_is_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Disk, "_sync_folder", lambda self: None)


def what_was_written_again_does_not_count(patch: pytest.MonkeyPatch) -> None:
    recover = Segment.recover
    patch.setattr(
        Segment, "recover", lambda self, *, check_bytes, later: recover(self, check_bytes=check_bytes, later=Ranges())
    )


def believed_in_spite_of_an_error(patch: pytest.MonkeyPatch) -> None:
    abandon = Segment.abandon
    patch.setattr(Segment, "abandon", lambda self: (self.believe(), abandon(self)))


def a_failed_sync_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disks, "SyncError", type("Other", (OSError,), {}))


def numbers_go_on_behind_what_is_here(patch: pytest.MonkeyPatch) -> None:
    number_on = Disk._number_on
    patch.setattr(
        Disk, "_number_on", lambda self, here: (number_on(self, here), setattr(self, "next_seq", here.last + 1))
    )


def what_cannot_be_deleted_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Disk, segment: Segment) -> None:
        self.shelf.remove(segment)
        with suppress(OSError):
            segment.delete()

    patch.setattr(Disk, "_delete", forget)


def a_camera_is_known_by_its_name_alone(patch: pytest.MonkeyPatch) -> None:
    resume = Acks.resume
    patch.setattr(Acks, "resume", lambda self, sink, told, _: resume(self, sink, told, "one"))


def former_ones_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    peer = Acks.peer
    patch.setattr(Acks, "peer", lambda self, sink: Peer(peer(self, sink).camera_id))


BUGS = [
    a_camera_is_known_by_its_name_alone,
    former_ones_are_not_kept,
    any_record_counts,
    written_over_before_the_new_name_is_durable,
    what_was_written_again_does_not_count,
    believed_in_spite_of_an_error,
    a_failed_sync_is_tried_again,
    numbers_go_on_behind_what_is_here,
    what_cannot_be_deleted_is_forgotten,
]


@pytest.mark.timeout(600)  # some bugs take a thousand lives
@pytest.mark.parametrize("bug", BUGS)
def test_lives_find_what_is_planted(bug: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.raises(AssertionError):
        lives(3000, bug, always_the_same=True)
