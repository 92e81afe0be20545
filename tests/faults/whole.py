"""Die at every file call of the whole agent or server, beside the other end, and see what arrives after a restart.

    LD_PRELOAD=killpoint.so python -m tests.faults.whole agent|server FOLDER [--every N] [--break NAME]

One process imports both programs and forks each life of theirs, so that a start costs no import. A point is one call of
a life from an empty folder to the orderly end; lives differ in length, so the calls of the end are counted once more
from where it begins. Prints one JSON object: the calls of a whole life and of its end, the points tried and hit, which
calls on which files they were, and what was wrong at which.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import select
import shutil
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.app import Agent
from agent.server.app import CameraServer
from tests.faults import agent, planted, server
from tests.faults.points import HOW, fork
from tests.faults.verdict import verdict
from tests.ports import held_port

ITEMS = 12
STUCK_S = 60.0
LIVES = 3  # that are counted: threads take turns differently
TRACE = -1
FOLDERS = {"agent": "spool", "server": "store"}


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th call, of the whole life or of its end."""

    n: int
    how: int = 0
    ending: bool = False

    def arm(self, folder: Path) -> None:
        ctypes.CDLL(None).killpoint_arm(str(folder).encode(), ctypes.c_long(self.n), self.how)

    def arm_end(self, folder: Path) -> None:
        """Arm when this process begins to end."""

        def armed_first(
            close: Callable[[Any], Coroutine[Any, Any, None]],
        ) -> Callable[[Any], Coroutine[Any, Any, None]]:
            async def closing(self_: Any) -> None:
                self.arm(folder)
                await close(self_)

            return closing

        for one in (Agent, CameraServer):
            one.close = armed_first(one.close)  # type: ignore[method-assign]


class Life:
    """A forked process of one side."""

    def __init__(self, work: Callable[[], None], log: Path) -> None:
        if (pid := os.fork()) == 0:
            code = 1
            try:
                out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(out, 1)
                os.dup2(out, 2)
                work()
                code = 0
            except BaseException as e:
                print(f"{type(e).__name__}: {e}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(code)
        self.pid = pid
        self.fd = os.pidfd_open(pid)
        self.code: int | None = None

    def ended(self, timeout_s: float | None = 0.0) -> bool:
        if self.code is None and first_to_end([self], timeout_s):
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.fd)
        return self.code is not None

    def end(self, how: int = signal.SIGKILL, timeout_s: float = 20.0) -> None:
        if not self.ended():
            os.kill(self.pid, how)
            if not self.ended(timeout_s):
                self.end()


def first_to_end(lives: list[Life], timeout_s: float | None) -> bool:
    """Whether one of them ended in time."""
    return bool(select.select([life.fd for life in lives if life.code is None], [], [], timeout_s)[0])


class Pair:
    """Both sides in one folder; `point` arms the first life of one of them."""

    def __init__(self, folder: Path, brk: dict[str, str]) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.port, self.held = held_port()
        self.broken = brk
        self.lives: dict[str, Life] = {}

    def start(self, side: str, point: Point | None = None) -> Life:
        def work() -> None:
            planted.plant(self.broken.get(side, ""))
            if point:
                (point.arm_end if point.ending else point.arm)(self.folder / FOLDERS[side])
            if side == "server":
                server.main(["--store", str(self.folder / "store"), "--port", str(self.port)])
            else:
                url, spool = f"ws://127.0.0.1:{self.port}", str(self.folder / "spool")
                agent.main(["--spool", spool, "--url", url, "--ledger", str(self.ledger), "--count", str(ITEMS)])

        self.lives[side] = Life(work, self.folder / f"{side}.log")
        return self.lives[side]

    def listening(self) -> bool:
        """False: the server ended before."""
        while not self.lives["server"].ended(0.01):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                continue
        return False

    def first(self, side: str, point: Point) -> None:
        """A life of both until the armed one died, or came to its orderly end."""
        self.start("server", point if side == "server" else None)
        if not self.listening():
            return
        sender = self.start("agent", point if side == "agent" else None)
        first_to_end(list(self.lives.values()), STUCK_S)
        if sender.ended() and side == "server":
            self.lives["server"].end(signal.SIGTERM)

    def arrives(self) -> bool:
        """No more faults: whether everything is delivered by itself."""
        if self.lives["server"].ended():
            self.start("server")
        if not self.listening():
            return False
        if "agent" not in self.lives or self.lives["agent"].ended():
            self.start("agent")
        return self.lives["agent"].ended(STUCK_S) and self.lives["agent"].code == 0

    def close(self) -> None:
        for life in self.lives.values():
            life.end()
        self.held.close()


def once(folder: Path, side: str, point: Point, brk: dict[str, str]) -> tuple[list[str], list[str]]:
    """(the calls that the armed life named, what is wrong afterwards)."""
    folder.mkdir()
    pair = Pair(folder, brk)
    try:
        pair.first(side, point)
        said = (folder / f"{side}.log").read_text(errors="replace")
        named = [_kind(line, folder) for line in said.splitlines() if line.startswith("killpoint ")]
        done = pair.arrives()
    finally:
        pair.close()
    found = json.loads(fork(lambda: [verdict(folder / "store", pair.ledger)])[1])[0]
    wrong = [] if done else ["not everything arrived"]
    if isinstance(found, str) or not found["ok"] or found["told"] or found["promised"] < ITEMS:
        wrong.append(json.dumps(found))
    if wrong:
        wrong += [(folder / f"{who}.log").read_text(errors="replace")[-300:] for who in FOLDERS]
    shutil.rmtree(folder)
    return named, wrong


def _kind(line: str, folder: Path) -> str:
    """`fsync store/items/#`: the call, and the file without what differs each time."""
    _, call, path = line.split(" ", 2)
    parts = Path(path).relative_to(folder).parts
    return f"{call} {'/'.join(re.sub('[0-9a-f]*[0-9][0-9a-f]*', '#', p) for p in parts)}"


def tried(folder: Path, side: str, points: list[Point], brk: dict[str, str]) -> dict[str, Any]:
    """Die at these points; as JSON what was hit and what was wrong."""
    hit, bad = Counter[str](), []
    for p in points:
        named, wrong = once(folder / f"{'end' * p.ending}{p.n}-{p.how}", side, p, brk)
        hit.update(named)
        bad += [[p.n, HOW[p.how], named, wrong]] if wrong else []
    return {"hit": hit, "bad": bad}


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("side", choices=tuple(FOLDERS))
    p.add_argument("folder", type=Path)
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--workers", type=int, default=6, help="a point waits more than it works")
    p.add_argument("--break", dest="brk", default="")
    a = p.parse_args()
    gc.freeze()
    brk = {a.side: a.brk}
    points, kinds, bad = list[Point](), set[str](), list[Any]()
    counts = []
    for ending in (False, True):
        trace = Point(TRACE, ending=ending)
        lives = [once(a.folder / f"whole{i}-{ending}", a.side, trace, brk) for i in range(LIVES)]
        bad += [["a whole life", wrong] for _, wrong in lives if wrong]
        kinds |= {kind for named, _ in lives for kind in named}
        counts.append(max(len(named) for named, _ in lives))
        points += [Point(n, how, ending) for n in range(1, counts[-1] + 1, a.every) for how in range(len(HOW))]
    points = [] if bad else points

    def work(i: int) -> None:
        found = tried(a.folder, a.side, points[i :: a.workers], brk)
        (a.folder / f"{i}.json").write_text(json.dumps(found))

    workers = [Life(lambda i=i: work(i), a.folder / f"{i}.log") for i in range(a.workers)]  # type: ignore[misc]
    hit = Counter[str]()
    for i, worker in enumerate(workers):
        worker.ended(None)
        found = json.loads((a.folder / f"{i}.json").read_text())
        hit.update(found["hit"])
        bad += found["bad"]
    result = {
        "calls": counts[0],
        "at_the_end": counts[1],
        "tried": len(points),
        "killed": hit.total(),
        "n_bad": len(bad),
        "bad": bad[:5],
    }
    print(json.dumps(result | {"hit": hit, "never_hit": sorted(kinds - set(hit))}))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
