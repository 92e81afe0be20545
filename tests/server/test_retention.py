"""What goes when: age, quotas, a disk that fills; and what was marked to keep stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.frame import Item, ItemType
from agent.media import clip
from agent.server.archive import DAY_NS, INCOMING, Archive, Outcome
from agent.server.cameras import Cameras, CameraSettings
from agent.server.catalog import Catalog
from agent.server.index import Rows
from agent.server.news import News
from agent.server.retention import DOUBT_NS, Limits, Retention
from tests.server.pictures import frame

SPOOL = "0123456789abcdef"


class Clock(SystemClock):
    """Stands where the test puts it; `now_ns` alone is a wall clock that leaps."""

    now_ns = 1_000 * DAY_NS
    run_ns = 0

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.run_ns

    def go_on(self, ns: int) -> None:
        self.now_ns += ns
        self.run_ns += ns


class Rig:
    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.archive = Archive(root, durable=False, clock=self.clock)
        self.cameras = Cameras(self.archive, News(), self.clock)
        self.free = 10**12
        self._seq = 0

    def retention(self, days: float = 7, **more: object) -> Retention:
        limits = Limits(days, **more)  # type: ignore[arg-type]
        return Retention(self.archive, self.clock, limits, self.cameras.all, lambda _: (10**12, self.free))

    async def put(self, camera: str, type_: ItemType, event: int = 0, late_s: float = 0) -> str:
        """Store an item; its name."""
        self._seq += 1
        wall_ns = self.clock.now_ns + round(late_s * 1e9)
        payload = frame(self._seq).data
        if type_ is ItemType.CLIP:
            payload = clip.pack((frame(self._seq, wall_ns),))
        elif type_ is ItemType.EVENT:
            payload = json.dumps({"event": event, "state": "open", "wall_ns": wall_ns}).encode()
        item = Item(camera, SPOOL, self._seq, type_, event, wall_ns, payload, Item.digest(payload))
        assert (await self.archive.ingest(item)).settled
        return f"{camera}-{self._seq}"

    async def left(self) -> set[str]:
        rows = await self.archive.index.read(lambda rows: rows.items.find())
        files = {f"{p.parts[-4]}-{p.stem}" for p in (self.archive.root / "items").rglob("*.*")}
        assert files == {f"{row.camera}-{row.seq}" for row in rows}
        return files


class Crash(Exception):
    """Everything stops here."""


@pytest.fixture
async def rig(tmp_path: Path):  # type: ignore[no-untyped-def]
    rig = Rig(tmp_path / "store")
    await rig.cameras.load()
    yield rig
    await rig.archive.close()


async def test_age_by_camera_and_class(rig: Rig) -> None:
    await rig.cameras.add("porch")
    await rig.cameras.add("yard", settings=CameraSettings(retention_days=2))
    await rig.cameras.add("hall", settings=CameraSettings(stills_days=1))
    kept = []
    for camera in ("porch", "yard", "hall"):
        await rig.put(camera, ItemType.STILL)
        await rig.put(camera, ItemType.EVENT, 1)
        await rig.put(camera, ItemType.CLIP, 1)
    rig.clock.now_ns += 3 * DAY_NS
    kept.append(await rig.put("yard", ItemType.STILL))
    await rig.retention(days=7).sweep()
    assert await rig.left() == {"porch-1", "porch-2", "porch-3", "hall-8", "hall-9", *kept}
    retention = rig.retention(days=5)
    await retention.sweep()
    rig.clock.go_on(3 * DAY_NS)
    await retention.sweep()
    assert await rig.left() == set()


async def test_a_clock_that_leaps_ahead_deletes_nothing_for_an_hour(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.cameras.add("porch")
    old = await rig.put("porch", ItemType.STILL)
    first = rig.retention(days=7)
    assert await first.sweep() == 0
    rig.clock.now_ns += 400 * DAY_NS  # it is set wrongly, and set right again
    new = await rig.put("porch", ItemType.STILL)
    assert await first.sweep() == await first.sweep() == 0
    assert [r.message for r in caplog.records] == [
        "the clock leapt ahead by 400 days, to 1973-11-01 00:00 UTC: nothing goes by age for an hour"
    ]
    rig.clock.now_ns -= 400 * DAY_NS
    assert await first.sweep() == 0 and await rig.left() == {old, new}
    rig.clock.now_ns += 9 * DAY_NS  # so it stays: true, or nobody sets it right
    assert await first.sweep() == 0
    rig.clock.go_on(DOUBT_NS - 1)
    assert await first.sweep() == 0
    rig.clock.go_on(1)
    assert await first.sweep() == 1 and await rig.left() == {new}
    rig.clock.now_ns += 500 * DAY_NS
    again = rig.retention(days=7)  # a server that starts with such a clock
    assert await again.sweep() == 0
    rig.clock.go_on(DOUBT_NS)
    assert await again.sweep() == 1 and await rig.left() == set()


async def test_bytes_least_worth_first_and_kept_stays(rig: Rig) -> None:
    await rig.cameras.add("porch")
    head = [await rig.put("porch", ItemType.EVENT, 1), await rig.put("porch", ItemType.CLIP, 1)]
    body = [await rig.put("porch", ItemType.CLIP, 1, late_s=20), await rig.put("porch", ItemType.CLIP, 1, late_s=30)]
    stills = [await rig.put("porch", ItemType.STILL) for _ in range(3)]
    precious = [await rig.put("porch", ItemType.EVENT, 2), await rig.put("porch", ItemType.CLIP, 2, late_s=99)]
    catalog = Catalog(rig.archive, rig.clock)
    event = await catalog.event_of("porch", SPOOL, 2)
    assert event is not None and (await catalog.keep(event, True)).kept
    order = []
    while len(left := await rig.left()) > 2:
        total = await rig.archive.index.read(lambda rows: rows.items.used()[1])
        assert await rig.retention(max_bytes=total - 1).sweep() == 1
        order += sorted(left - await rig.left())
    assert order == stills + body + head
    assert await rig.retention(max_bytes=1).sweep() == 0
    retention = rig.retention()
    await retention.sweep()
    rig.clock.go_on(100 * DAY_NS)
    assert await retention.sweep() == 0
    assert await rig.left() == set(precious)


async def test_a_quota_is_the_cameras_own(rig: Rig) -> None:
    await rig.cameras.add("porch", settings=CameraSettings(quota_bytes=1024 * 1024))
    await rig.cameras.add("yard")
    camera = rig.cameras.get("porch")
    assert camera is not None
    for _ in range(5):
        await rig.put("porch", ItemType.STILL)
        await rig.put("yard", ItemType.STILL)
    assert await rig.retention().sweep() == 0
    object.__setattr__(camera.settings, "quota_bytes", 2 * len(frame(1).data) + 100)
    await rig.retention().sweep()
    left = await rig.left()
    assert len([n for n in left if n.startswith("yard")]) == 5
    assert 1 <= len([n for n in left if n.startswith("porch")]) <= 2


async def test_before_the_disk_is_full_the_oldest_go(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.cameras.add("porch")
    for _ in range(4):
        await rig.put("porch", ItemType.STILL)
    rig.free = rig.archive.min_free_bytes + 192 * 1024 * 1024
    assert await rig.retention().sweep() == 0
    rig.free -= 1
    assert await rig.retention().sweep() == 4
    assert "had to go" in caplog.text


async def test_a_deletion_that_was_cut_short_is_finished_by_the_next_sweep(rig: Rig) -> None:
    """The file goes before the row, so that a full disk gets room; then the power may go, or the commit fail."""
    await rig.cameras.add("porch")
    await rig.put("porch", ItemType.STILL)
    kept = await rig.put("porch", ItemType.STILL)

    def crash(rows: Rows) -> None:
        assert rig.archive._delete(rows, ("porch", SPOOL, 1))
        raise Crash

    with pytest.raises(Crash):
        await rig.archive.index.write(crash)
    assert await rig.archive.digest("porch", SPOOL, 1), "a row without its file"
    rig.archive.clear_incoming()
    assert await rig.retention().sweep() == 1
    assert await rig.left() == {kept}
    assert list((rig.archive.root / INCOMING).iterdir()) == []
    again = Item("porch", SPOOL, 1, ItemType.STILL, 0, 0, frame(1).data, Item.digest(frame(1).data))
    assert await rig.archive.ingest(again) is Outcome.DUPLICATE, "it is known that it was here"
    assert await rig.retention().sweep() == 0


async def test_an_erased_camera_leaves_no_name_in_a_deletion_that_was_cut_short(rig: Rig) -> None:
    await rig.cameras.add("porch")
    await rig.put("porch", ItemType.STILL)

    def crash(rows: Rows) -> None:
        rig.archive._delete(rows, ("porch", SPOOL, 1))
        raise Crash

    with pytest.raises(Crash):
        await rig.archive.index.write(crash)
    await rig.cameras.remove("porch")
    assert list((rig.archive.root / INCOMING).iterdir()) == []
