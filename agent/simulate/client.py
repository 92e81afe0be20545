"""One connection to the fake camera: sends as slowly and in such pieces as it is told."""

from __future__ import annotations

import asyncio
import socket

from agent.media.faults import Fault

SEGMENT_BYTES = 1460


class Client:
    """A connection, and which of the faults apply to it now."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: list[Fault]) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self.last = b""
        self._held = bytearray()
        self._waiting = 0
        writer.transport.set_write_buffer_limits(0)
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def gone(self) -> bool:
        return self._writer.is_closing() or self._reader.at_eof()

    def fault(self, name: str, number: int) -> Fault | None:
        return next((f for f in self._faults if f.name == name and f.at(number)), None)

    async def stays(self, seconds: float | None) -> bool:
        """Do nothing for so long (None: for ever); False when the other side leaves meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(1024):
                    pass
        except TimeoutError:
            return True
        return False

    async def send(self, data: bytes, number: int) -> None:
        """Send at once, slowly, or in pieces, as picture `number` has it."""
        if (slow := self.fault("slow", number)) and slow.value:
            # As a line of that speed would: in steps of a millisecond, but no smaller than a segment.
            step = max(1, int(min(max(slow.value / 1000, SEGMENT_BYTES), slow.value / 20)))
            await self._send(data, step, slow.value)
        elif pieces := self.fault("pieces", number):
            await self._send(data, max(1, int(pieces.value or 1)))
        else:
            self._writer.write(data)
            await self._writer.drain()

    async def send_part(self, data: bytes, number: int) -> None:
        """The same for a whole part, which `burst` keeps until there are some."""
        burst = self.fault("burst", number)
        if burst is None:
            await self.send(bytes(self._held) + data, number)
            self._held.clear()
            return
        self._held += data
        self._waiting += 1
        if self._waiting >= (burst.value or 2):
            await self.send(bytes(self._held), number)
            self._held.clear()
            self._waiting = 0

    async def _send(self, data: bytes, step: int, bytes_s: float = 0.0) -> None:
        clock = asyncio.get_running_loop().time
        begin = clock()
        for at in range(0, len(data), step):
            self._writer.write(data[at : at + step])
            await self._writer.drain()
            due = begin + (min(at + step, len(data)) / bytes_s if bytes_s else 0.0)
            await asyncio.sleep(max(0.0, due - clock()))

    async def flush(self) -> None:
        """What `burst` still keeps."""
        if self._held:
            await self.send(bytes(self._held), 0)
            self._held.clear()
