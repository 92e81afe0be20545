"""Which item leaves next: what happens now, then heads of older events, then their bodies, then stills."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from agent.frame import Worth


class Rank(IntEnum):
    """How urgent; the lowest number first."""

    NOW = 0
    HEAD = 1
    BODY = 2
    STILL = 3


# Of the bytes sent, what a rank gets at least while it has something: nobody starves.
SHARES = {Rank.NOW: 0.0, Rank.HEAD: 0.10, Rank.BODY: 0.10, Rank.STILL: 0.05}
BY_WORTH = {Worth.HEAD: Rank.HEAD, Worth.BODY: Rank.BODY, Worth.STILL: Rank.STILL}
FORGET_BYTES = 4 * 1024 * 1024
FIRST_BYTES = 128 * 1024


class Order:
    """One session's line of items; oldest first within a rank.

    An event's first FIRST_BYTES, its opening and its first picture, wait for nobody's share.
    """

    def __init__(self) -> None:
        self._now: deque[tuple[int, Worth]] = deque()
        self._queues: dict[Rank, deque[int]] = {rank: deque() for rank in BY_WORTH.values()}
        self._sent = dict.fromkeys(Rank, 0.0)
        self._event = 0
        self._first_left = 0

    def __len__(self) -> int:
        return len(self._now) + sum(map(len, self._queues.values()))

    def add(self, seq: int, worth: Worth, event: int = 0) -> None:
        """Queue a number; `event`: of the event that runs now, 0 for what waited already.

        With another event's first item, what was left of the one before joins the backlog.
        """
        if not event:
            self._queues[BY_WORTH[worth]].append(seq)
            return
        if event != self._event:
            for old, old_worth in self._now:
                self._queues[BY_WORTH[old_worth]].append(old)
            self._now.clear()
            self._event, self._first_left = event, FIRST_BYTES
        self._now.append((seq, worth))

    def next(self) -> tuple[int, Rank] | None:
        """The number to send, taken off the line."""
        waiting = [rank for rank, queue in self._queues.items() if queue]
        hungry = [rank for rank in waiting if self._hungry(rank)]
        if self._now and (not hungry or self._first_left > 0):
            return self._now.popleft()[0], Rank.NOW
        if not waiting:
            return None
        rank = (hungry or waiting)[0]
        return self._queues[rank].popleft(), rank

    def overtake(self, event: int, rank: Rank) -> tuple[int, Rank] | None:
        """The number that should leave before the rest of an item in transit, taken off the line.

        Only the running event overtakes, and beyond its beginning only who has had its share.
        """
        if not self._now or event == self._event or (self._hungry(rank) and self._first_left <= 0):
            return None
        return self._now.popleft()[0], Rank.NOW

    def sent(self, rank: Rank, size: int) -> None:
        """Account for what was sent; the past fades, so that a long quiet time earns no burst."""
        self._sent[rank] += size
        if rank is Rank.NOW:
            self._first_left -= size
        if sum(self._sent.values()) > FORGET_BYTES:
            for r in Rank:
                self._sent[r] /= 2

    def _hungry(self, rank: Rank) -> bool:
        return self._sent[rank] < SHARES[rank] * sum(self._sent.values())
