"""What became of each connection: one record, and counters by rule and outcome."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger("agent.dispatch")


class End(StrEnum):
    """How a connection ended; of a relay, which side was the first to say that it is through."""

    CLIENT = "client-eof"
    BACKEND = "backend-eof"
    DONE = "done"
    RESET = "reset"
    IDLE = "idle"
    REFUSED = "refused"
    LATE = "sniff-timeout"
    LIMIT = "limit"
    DOWN = "backend-down"
    PASSED = "passed"
    DRAINED = "drained"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Record:
    """One connection. `peer` sent the packets, `client` is whom it spoke for (a PROXY header).

    in_bytes, out_bytes: from and to the client; of TLS as on the wire; None where the kernel does not say.
    """

    listener: str
    peer: str
    client: str
    rule: str
    service: str
    why: str
    requests: int
    peeked_bytes: int
    decide_ms: float
    in_bytes: int | None
    out_bytes: int | None
    duration_ms: float
    end: End


def logged() -> bool:
    """Whether anybody would see a record's line; making one costs as much as some connections do."""
    return log.isEnabledFor(logging.INFO)


def log_record(record: Record) -> None:
    """One line of JSON at level INFO."""
    log.info("connection %s", json.dumps(dataclasses.asdict(record)))


class Counts:
    """Counters since the start; as many as there are rules times outcomes."""

    def __init__(self) -> None:
        self.accepted = 0
        self.accept_pauses = 0
        self.by_outcome: Counter[tuple[str, str, str]] = Counter()
        self.in_bytes: Counter[str] = Counter()
        self.out_bytes: Counter[str] = Counter()

    def add(self, rule: str, service: str, end: End, in_bytes: int, out_bytes: int) -> None:
        self.by_outcome[rule, service, end] += 1
        self.in_bytes[service] += in_bytes
        self.out_bytes[service] += out_bytes

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format."""
        yield "# TYPE dispatch_accepted_total counter"
        yield f"dispatch_accepted_total {self.accepted}"
        yield "# TYPE dispatch_accept_pauses_total counter"
        yield f"dispatch_accept_pauses_total {self.accept_pauses}"
        yield "# TYPE dispatch_connections_total counter"
        for (rule, service, end), number in sorted(self.by_outcome.items()):
            yield f'dispatch_connections_total{{rule="{rule}",service="{service}",end="{end}"}} {number}'
        yield "# TYPE dispatch_bytes_total counter"
        for way, counter in (("in", self.in_bytes), ("out", self.out_bytes)):
            for service, number in sorted(counter.items()):
                yield f'dispatch_bytes_total{{service="{service}",way="{way}"}} {number}'
