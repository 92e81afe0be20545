"""Ordinary files into a directory: what is not whole is not left there."""

from pathlib import Path

from agent.errors import TransientError
from agent.frame import ItemType
from agent.outbox import MemoryOutbox
from agent.sinks.disk import DiskSink
from tests.sinks.runs import running


async def test_a_full_disk_gets_back_what_was_tried_to_write(tmp_path: Path) -> None:
    """The file that did not fit would keep the rest of the disk from everybody, for ever if it is given up."""
    part = tmp_path / "1.jpg.part"
    part.symlink_to("/dev/full")
    box = MemoryOutbox("porch")
    box.put(ItemType.STILL, 0, 0, b"\xff\xd8" + bytes(100_000))
    async with running(DiskSink(folder=str(tmp_path), path="{seq}.jpg"), box) as run:
        error = await run.ended()
        assert isinstance(error, TransientError) and "No space left" in str(error)
        assert list(tmp_path.iterdir()) == []
        await run.again()
        await run.drained()
    assert [p.name for p in tmp_path.iterdir()] == ["1.jpg"]
