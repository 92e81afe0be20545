"""Threads for calls that may hang."""

import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest

from agent.threads import Threads


def test_they_work_side_by_side_up_to_the_most_and_give_what_came_of_it() -> None:
    threads, there, go = Threads(2, "two"), threading.Semaphore(0), threading.Event()

    def work(n: int) -> int:
        there.release()
        go.wait()
        return 10 // n

    futures = [threads.submit(work, n) for n in (2, 1, 0)]
    for _ in range(2):
        assert there.acquire(timeout=30)
    assert not there.acquire(timeout=0.1), "a third has to wait"
    assert sum(t.name == "two" for t in threading.enumerate()) == 2
    go.set()
    wait(futures, 30)
    assert [f.result() for f in futures[:2]] == [5, 10]
    with pytest.raises(ZeroDivisionError):
        futures[2].result()
    threads.shutdown()
    for t in threading.enumerate():
        if t.name == "two":
            t.join(30)


def test_the_program_ends_without_one_that_hangs() -> None:
    program = "import time; from agent.threads import Threads; Threads(1, 'x').submit(time.sleep, 600)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_is_under_way_may_come_to_its_end() -> None:
    threads, begun = Threads(2, "left"), threading.Event()

    def work() -> str:
        begun.set()
        time.sleep(0.2)
        return "done"

    short, hanging = threads.submit(work), threads.submit(threading.Event().wait)
    assert begun.wait(30)
    threads.leave(1.0)
    assert short.result(0) == "done" and not hanging.done()
