"""A service that ends leaves a word why, and that nothing was cut off."""

import signal
from pathlib import Path

import pytest

from tests.e2e.product import running


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_server_says_why_it_stops_and_that_it_has(tmp_path: Path, by: signal.Signals) -> None:
    async with running("server", "--port", "0", "--store", str(tmp_path / "store")) as server:
        await server.said("set up: http")
        assert await server.end(by) == 0
        assert [line.partition("INFO")[2].strip() for line in server.err[-2:]] == [
            f"stopping, because of {by.name}",
            "stopped; everything is closed",
        ]


async def test_an_agent_says_the_same(tmp_path: Path) -> None:
    async with running("run", "--source", "demo", "--to", str(tmp_path / "kept")) as agent:
        await agent.said("demo")
        assert await agent.end() == 0
        said = agent.text()
        assert said.index("stopping, because of SIGTERM") < said.index("stopped; everything is closed")
