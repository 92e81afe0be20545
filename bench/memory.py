"""Memory of one process with the server in it, 640×480 at 10 fps: after half a minute, and after a look at its page."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.agent import COMMAND, camera, look, said, started
from bench.footage import street
from bench.measure import MIB, Memory, memory

STARTS, SETTLE_S = 3, 30.0


def started_thrice(url: str, folder: Path) -> list[Memory]:
    """Of fresh starts: where the heap's holes lie differs from one to the next by a megabyte."""
    found = []
    for i in range(STARTS):
        config = folder / f"config{i}.yaml"
        config.write_text(
            f"cameras: {{porch: {{source: {{type: mjpeg, url: '{url}'}}}}}}\n"
            f"spool: {{path: '{folder / f'spool{i}'}'}}\n"
            f"server: {{port: 0, store: '{folder / f'store{i}'}'}}\n"
        )
        with started([*COMMAND, "run", "-c", str(config)], folder / f"run{i}.log") as agent:
            time.sleep(SETTLE_S)
            found.append(memory(agent.pid))
    return found


def looked_at(url: str, folder: Path) -> Memory:
    log = folder / "watch.log"
    with started([*COMMAND, "watch", url, "--port", "0", "--local", "--json", "--for", "120s"], log) as agent:
        link = said(log, r'"url": ?"([^"]+)"')
        time.sleep(SETTLE_S / 2)
        asyncio.run(look(link))
        return memory(agent.pid)


def tell(what: str, found: list[Memory]) -> None:
    rss = statistics.median(m.rss_mib for m in found)
    anonymous = statistics.median(m.anonymous_mib for m in found)
    print(
        f"{what}: RSS {rss:.1f} MiB = {rss * MIB / 1e6:.1f} MB (goal ≤ 110), "
        f"anonymous {anonymous:.1f} MiB = {anonymous * MIB / 1e6:.1f} MB (≤ 50)",
        flush=True,
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with camera(street(folder / "film", (640, 480), 300), 10, folder, "--stamp") as url:
            tell(f"median of {STARTS} starts", started_thrice(url, folder))
            tell("its page looked at", [looked_at(url, folder)])
