"""Numbers that are settled: joined whatever order they come in, up to the last one that there is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.frame import Item, ItemType
from agent.server import ledger
from agent.server.archive import Archive, Outcome
from agent.server.index.rows import CameraRow

SPOOL = "0123456789abcdef"


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    archive = Archive(tmp_path, durable=False)
    await archive.index.write(lambda rows: rows.cameras.add(CameraRow("porch", 1, "", None, None, "{}")))
    yield archive
    await archive.close()


def still(seq: int, more: bytes = b"") -> Item:
    payload = b"\xff\xd8\xff\xd9" + more
    return Item("porch", SPOOL, seq, ItemType.STILL, 0, 1, payload, Item.digest(payload))


@pytest.mark.parametrize("seed", range(5))
async def test_numbers_in_any_order_become_one_range(archive: Archive, seed: int) -> None:
    order = list(range(1, 41))
    random.Random(seed).shuffle(order)
    settled: set[int] = set()
    for seq in order:
        if seq % 7 == 0:
            await archive.declare("porch", SPOOL, seq, seq + 1, "quota")
            settled |= {seq, seq + 1}
        else:
            assert await archive.ingest(still(seq)) is Outcome.STORED, "one that was declared may come late"
            again = await archive.ingest(still(seq)), await archive.ingest(still(seq, b"other"))
            assert again == (Outcome.DUPLICATE, Outcome.CONFLICT)
            settled.add(seq)
        last, ranges = await archive.acks("porch", SPOOL)
        told = {n for first, end in [(1, last), *ranges] for n in range(first, end + 1)}
        assert told == settled
        ends = [end for _, end in ranges]
        assert all(first > before + 1 for (first, _), before in zip(ranges, [last, *ends], strict=False))
    assert await archive.acks("porch", SPOOL) == (40, [])


async def test_the_last_number_that_there_is(archive: Archive) -> None:
    top = ledger.MAX_SEQ
    for seq in (top, top - 1):
        assert await archive.ingest(still(seq)) is Outcome.STORED
    assert await archive.ingest(still(top)) is Outcome.DUPLICATE
    assert await archive.ingest(still(top + 1)) is Outcome.TYPE
    assert await archive.acks("porch", SPOOL) == (0, [(top - 1, top)])
