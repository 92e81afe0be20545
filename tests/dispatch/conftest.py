"""After each test, every descriptor that it opened is closed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.dispatch.rig import descriptors


@pytest.fixture(autouse=True)
async def no_descriptor_stays(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if not asyncio.iscoroutinefunction(request.function):
        yield
        return
    before = descriptors()
    yield
    for _ in range(100):
        if descriptors() <= before:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{descriptors() - before} descriptors were left open")


@pytest.fixture(autouse=True)
def tls_is_not_told_to_stay_half_open(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [m for r in caplog.get_records("call") if "eof_received" in (m := r.getMessage())]
