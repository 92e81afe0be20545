"""The dispatcher's bounds, each under its own name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from agent.dispatch.peek import PEEK_CAP_BYTES
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, counts of connections; connections that wait for their decision are "sniffing".

    silence_s: how long a client may say nothing before a rule for silent clients takes it. sniff_deadline_s:
    from accept to the decision, however the bytes trickle. sniffing, sniffing_per_address: beyond them the
    oldest silent one is dropped. connections_per_address: all phases together. An
    address of IPv6 counts by its first 64 bits. lingering: refused clients
    whose last bytes are still being read, so that the answer is not destroyed by a reset.
    """

    silence_s: float = 1.0
    sniff_deadline_s: float = 5.0
    peek_bytes: int = PEEK_CAP_BYTES
    sniffing: int = 512
    sniffing_per_address: int = 32
    connections: int = 10000
    connections_per_address: int = 1000
    lingering: int = 256
    linger_s: float = 2.0
    linger_bytes: int = 64 * 1024
    keepalive_s: float = 60.0
    claim_silence_s: float = 0.02
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be more than 0")
        if not self.silence_s < self.sniff_deadline_s:
            raise ConfigError("silence_s must be less than sniff_deadline_s")
        if not 64 <= self.peek_bytes <= 65536:
            raise ConfigError("peek_bytes must be between 64 and 65536")
