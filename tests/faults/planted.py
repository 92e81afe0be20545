"""Faults that others have really shipped, planted into the product's classes in a process of the suite's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def ack_early() -> None:
    """The server answers before the item is anywhere."""
    from agent.server.archive import Archive, Outcome
    from agent.server.index import Rows
    from agent.server.ledger import near, settle

    ingest = Archive.ingest

    async def early(self: Archive, item: Any) -> Outcome:
        number = (item.camera, item.spool, item.seq, item.seq)

        def settled(rows: Rows) -> None:
            settle(rows, *number, near(rows, *number))

        await self.index.write(settled)
        asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(ingest(self, item)))
        return Outcome.STORED

    Archive.ingest = early  # type: ignore[method-assign]


def seq_reset() -> None:
    """The agent counts from 1 again after a restart."""
    from agent.spool.disk import Disk
    from agent.spool.ranges import Ranges

    number_on = Disk._number_on

    def reset(self: Disk, here: Ranges) -> None:
        number_on(self, here)
        self.next_seq = 1

    Disk._number_on = reset  # type: ignore[method-assign]


def delete_early() -> None:
    """The agent takes what it has sent for stored."""
    from agent.spool.line import Line, Part

    part = Line.part

    async def forgetful(self: Line, max_bytes: int) -> Part:
        found = await part(self, max_bytes)
        if found.end == len(found.item.payload):
            outbox = getattr(self._skip, "__self__")  # noqa: B009
            outbox.ack(0, [(found.item.seq, found.item.seq)])
        return found

    Line.part = forgetful  # type: ignore[method-assign]
    _no_resume()


def _no_resume() -> None:
    from agent.spool.drain import SpoolOutbox

    def adds(self: SpoolOutbox, upto: int, have: Any = (), camera_id: str = "") -> None:
        self.ack(upto, have)

    SpoolOutbox.resume = adds  # type: ignore[method-assign]


def give_up() -> None:
    """The agent drops what it could not deliver in three connections."""
    from agent.sinks.websocket import WebSocketSink

    run = WebSocketSink.run
    tries = 0

    async def impatient(self: WebSocketSink, feed: Any) -> None:
        nonlocal tries
        tries += 1
        if tries > 3:
            tries = 0
            feed.outbox.ack(feed.outbox.next_seq - 1)
        await run(self, feed)

    WebSocketSink.run = impatient  # type: ignore[method-assign]
    _no_resume()


def no_fsync() -> None:
    """Nothing is synced."""
    os.fsync = os.fdatasync = lambda fd: None  # type: ignore[assignment]


def no_dir_fsync() -> None:
    """Files are synced, their names are not."""
    import stat

    fsync = os.fsync

    def files_only(fd: Any) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(fd)

    os.fsync = files_only


def late_digest() -> None:
    """The digest is made of what the disk holds when the item is sent."""
    from agent.frame import Item
    from agent.spool.segment import Segment

    def blessed(self: Segment, camera: str, seq: int) -> Item:
        found = self.record(seq)
        with open(self.path, "rb") as f:
            f.seek(found.start)
            payload = f.read(found.length)
        return Item(camera, found.spool, seq, found.type, found.event, found.wall_ns, payload, Item.digest(payload))

    Segment.read = blessed  # type: ignore[method-assign]


FAULTS = {
    "ack-early": ack_early,
    "seq-reset": seq_reset,
    "delete-early": delete_early,
    "give-up": give_up,
    "no-fsync": no_fsync,
    "no-dir-fsync": no_dir_fsync,
    "late-digest": late_digest,
}


def plant(names: str) -> None:
    """Plant the named faults, separated by commas; "" plants none."""
    for name in filter(None, names.split(",")):
        FAULTS[name]()


@contextmanager
def only(name: str) -> Iterator[None]:
    """One of the agent's faults for as long as this lasts; "" is none."""
    from agent.sinks.websocket import WebSocketSink
    from agent.spool.drain import SpoolOutbox
    from agent.spool.line import Line
    from agent.spool.segment import Segment

    sound = [(c, n, getattr(c, n)) for c, n in ((Line, "part"), (SpoolOutbox, "resume"), (Segment, "read"))]
    sound.append((WebSocketSink, "run", WebSocketSink.run))
    plant(name)
    try:
        yield
    finally:
        for owner, attribute, value in sound:
            setattr(owner, attribute, value)
