"""An index from the files alone, for a store whose index is lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.errors import UsageError
from agent.exits import CANNOT_WRITE
from agent.frame import Item, ItemType
from agent.server import ledger, sqlite
from agent.server.archive import INCOMING, NAME, SPOOL, SUFFIX, Archive, knows_nothing, unusable
from agent.server.digest import Contents, inspect, number
from agent.server.index import Index, Rows, UnavailableError
from agent.server.index.rows import CameraRow
from agent.server.lock import StoreLock

BATCH = 200
_FILE = re.compile(r"([1-9][0-9]{0,18})\.(" + "|".join(SUFFIX.values()) + r")\Z")
_TYPES = {suffix: type_ for type_, suffix in SUFFIX.items()}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`skipped`: files that are not whole items."""

    cameras: int
    items: int
    skipped: int


async def rebuild(store: Path) -> Rebuilt:
    """Make `index.db` of the files; raises UsageError where one is there that knows anything, or a server runs.

    It is made among what is on its way in, and comes to its place whole: one that was cut short is none.
    What only the index knew is gone: tokens (`virtual keys` gives new ones), accounts, settings, what was declared
    given up. The event of a clip is that whose record was the last one opened before it. Digests are those of the files
    as they are now.
    """
    if not (store / "items").is_dir():
        raise UsageError(f"{store} has no items", CANNOT_WRITE)
    lock = StoreLock(store)
    try:
        if sqlite.there(store) and not _blank(store):  # not said while a server runs: that one's shall not be moved
            raise UsageError(f"{store} has an index; move index.db* away to have it made anew", CANNOT_WRITE)
        done = await _make(store)
        sqlite.move(store / INCOMING, store)
        return done
    finally:
        lock.close()


def _blank(store: Path) -> bool:
    """Whether the index is one that a server made beside the recordings when it found none, and did not use."""
    try:
        with sqlite.snapshot(store) as rows:
            return knows_nothing(rows)
    except UnavailableError:
        return False


def _beside(root: Path, *, durable: bool = True) -> Index:
    return sqlite.open_index(root / INCOMING, durable=durable)


async def _make(store: Path) -> Rebuilt:
    sqlite.remove(store / INCOMING)  # of one that was cut short
    archive = Archive(store, open_index=_beside)
    try:
        cameras = sorted(p for p in (store / "items").iterdir() if p.is_dir() and NAME.match(p.name))
        items = skipped = 0
        for folder in cameras:
            await archive.index.write(partial(_enter_camera, name=folder.name))
            for spool in sorted(p for p in folder.iterdir() if SPOOL.match(p.name)):
                some, bad = await _spool(archive, folder.name, spool)
                items, skipped = items + some, skipped + bad
        return Rebuilt(len(cameras), items, skipped)
    except UnavailableError as e:
        raise unusable(store, e) from None
    finally:
        await archive.close()


def _enter_camera(rows: Rows, name: str) -> None:
    rows.cameras.add(CameraRow(name, 1, "", None, None, "{}"))


async def _spool(archive: Archive, camera: str, folder: Path) -> tuple[int, int]:
    """(items entered, files skipped) of one spool, in the order of its numbers."""
    found = [(int(m[1]), _TYPES[m[2]], p) for p in folder.glob("*/*") if (m := _FILE.match(p.name))]
    skipped = sum(1 for p in folder.glob("*/*")) - len(found)
    event = 0
    batch: list[tuple[Item, Contents, int]] = []
    entered = 0
    for seq, type_, path in sorted(found):
        payload, stored_ns = path.read_bytes(), path.stat().st_mtime_ns
        item = Item(camera, folder.name, seq, type_, 0, stored_ns, payload, Item.digest(payload))
        try:
            contents = inspect(item)
        except ValueError:
            skipped += 1
            continue
        of, event = _event(contents, type_, event)
        batch.append((_told(item, contents, of), contents, stored_ns))
        if len(batch) >= BATCH:
            entered += await _enter(archive, batch)
            batch = []
    return entered + await _enter(archive, batch), skipped


def _event(contents: Contents, type_: ItemType, running: int) -> tuple[int, int]:
    """(this item's event, the event that runs behind it)."""
    if contents.record is not None:
        own = number(contents.record.get("event"))
        return own, own if contents.record["state"] == "open" else 0
    return (running if type_ is ItemType.CLIP else 0), running


def _told(item: Item, contents: Contents, event: int) -> Item:
    """The item with its event, and its time as it says itself."""
    wall_ns = item.wall_ns
    if contents.frames:
        wall_ns = contents.frames[0].wall_ns
    elif contents.record is not None:
        wall_ns = number(contents.record.get("wall_ns"), wall_ns)
    return Item(item.camera, item.spool, item.seq, item.type, event, wall_ns, item.payload, item.sha256)


async def _enter(archive: Archive, batch: list[tuple[Item, Contents, int]]) -> int:
    def run(rows: Rows) -> None:
        for item, contents, stored_ns in batch:
            near = ledger.near(rows, item.camera, item.spool, item.seq, item.seq)
            archive.enter(rows, item, contents, stored_ns, near)

    await archive.index.write(run)
    return len(batch)
