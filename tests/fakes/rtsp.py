"""An RTSP camera (RFC 2326; H.264 after RFC 6184, over TCP and UDP) that dies, stalls, loses and lies at will."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.media import h264
from agent.media.film import Unit
from agent.media.h264 import ParameterSets, parameter_sets

PAYLOAD_BYTES = 1400
TYPE = 96


@dataclass
class RtspCamera:
    """Plays `units` again and again at `fps` to each client. Use as an async context manager; `url` is where it is.

    `stamp`: the RTP time of the n-th frame. `stall_after`, `die_after`: frames of one session. `login`: what Basic
    must carry. `answer`: said instead of RTSP. `loses`: whether the n-th packet gets lost, where it goes over UDP.
    """

    units: Sequence[Unit]
    fps: float = 50.0
    stamp: Callable[[int], int] = lambda n: n * 1800
    stall_after: int | None = None
    die_after: int | None = None
    login: str = ""
    answer: bytes = b""
    tell_sets: bool = True
    loses: Callable[[int], bool] = lambda n: False
    port: int = 0
    sessions: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        at = f"{self.login}@" if self.login else ""
        return f"rtsp://{at}127.0.0.1:{self.port}/stream"

    async def __aenter__(self) -> RtspCamera:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Gone as with a pulled plug; entering again brings it back on the same port."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        playing: asyncio.Task[None] | None = None
        send = _interleaved(writer)
        way: asyncio.DatagramTransport | None = None
        try:
            if self.answer:
                writer.write(self.answer)
                await writer.drain()
                return
            while True:
                head = await _request(reader)
                method = head.split(" ", 1)[0]
                if method != "OPTIONS" and self.login and not self._permitted(head):
                    _reply(writer, head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
                elif method == "DESCRIBE" and "/stream" not in head.split("\r\n", 1)[0]:
                    _reply(writer, head, "404 Not Found")
                elif method == "DESCRIBE":
                    _reply(writer, head, "200 OK", "Content-Type: application/sdp", body=self._sdp())
                elif method == "SETUP" and (wanted := re.search(r"client_port=(\d+)-(\d+)", head)):
                    to = ("127.0.0.1", int(wanted[1]))
                    way, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0), remote_addr=to
                    )
                    send = self._over(way)
                    port = way.get_extra_info("sockname")[1]
                    ports = f"{wanted[0]};server_port={port}-{port + 1}"
                    _reply(writer, head, "200 OK", f"Transport: RTP/AVP;unicast;{ports}", "Session: 7")
                elif method == "SETUP":
                    _reply(writer, head, "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 7")
                elif method == "PLAY":
                    _reply(writer, head, "200 OK", "Session: 7", "Range: npt=0.000-")
                    self.sessions += 1
                    playing = asyncio.create_task(self._play(writer, send))
                else:
                    _reply(writer, head, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            if playing is not None:
                playing.cancel()
            if way is not None:
                way.close()
            writer.transport.abort()
            self._tasks.discard(task)

    def _permitted(self, head: str) -> bool:
        return f"Basic {base64.b64encode(self.login.encode()).decode()}" in head

    def _sdp(self) -> bytes:
        sets = next(parameter_sets(u.codec, u.data) for u in self.units if u.keyframe)
        return sdp(sets if self.tell_sets else None)

    def _over(self, way: asyncio.DatagramTransport) -> Callable[[bytes], None]:
        count = 0

        def send(packet: bytes) -> None:
            nonlocal count
            if not self.loses(count):
                way.sendto(packet)
            count += 1

        return send

    async def _play(self, writer: asyncio.StreamWriter, send: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        sequence, due = 0, loop.time()
        n = 0
        while True:
            if n == self.stall_after:
                await asyncio.sleep(3600)
            if n == self.die_after or writer.transport.is_closing():
                writer.transport.abort()
                return
            for packet in packets(self.units[n % len(self.units)].data, sequence, self.stamp(n)):
                send(packet)
                sequence += 1
            await writer.drain()
            n += 1
            due += 1 / self.fps
            await asyncio.sleep(due - loop.time())


def _interleaved(writer: asyncio.StreamWriter) -> Callable[[bytes], None]:
    return lambda packet: writer.write(b"$\0" + struct.pack(">H", len(packet)) + packet)


def sdp(sets: ParameterSets | None) -> bytes:
    told = ",".join(base64.b64encode(u).decode() for u in (*sets.sps, *sets.pps)) if sets else ""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=camera",
        "t=0 0",
        f"m=video 0 RTP/AVP {TYPE}",
        f"a=rtpmap:{TYPE} H264/90000",
        f"a=fmtp:{TYPE} packetization-mode=1" + (f";sprop-parameter-sets={told}" if told else ""),
        "a=control:track0",
    ]
    return "".join(line + "\r\n" for line in lines).encode()


def packets(unit: bytes, sequence: int, stamp: int) -> list[bytes]:
    """An access unit as RTP packets: single NAL units, and FU-A for what is longer than a packet."""
    payloads: list[bytes] = []
    for nal in h264.split(unit):
        if len(nal) <= PAYLOAD_BYTES:
            payloads.append(nal)
            continue
        rest = [nal[i : i + PAYLOAD_BYTES] for i in range(1, len(nal), PAYLOAD_BYTES)]
        for i, part in enumerate(rest):
            ends = (0x80 if i == 0 else 0) | (0x40 if i == len(rest) - 1 else 0)
            payloads.append(bytes([nal[0] & 0xE0 | 28, ends | nal[0] & 0x1F]) + part)
    out = []
    for i, payload in enumerate(payloads):
        marker = 0x80 if i == len(payloads) - 1 else 0
        head = struct.pack(">BBHII", 0x80, marker | TYPE, (sequence + i) & 0xFFFF, stamp & 0xFFFFFFFF, 0x1234)
        out.append(head + payload)
    return out


async def _request(reader: asyncio.StreamReader) -> str:
    while True:
        first = await reader.readexactly(1)
        if first == b"$":  # RTCP of the client's
            _, length = struct.unpack(">BH", await reader.readexactly(3))
            await reader.readexactly(length)
            continue
        return (first + await reader.readuntil(b"\r\n\r\n")).decode()


def _reply(writer: asyncio.StreamWriter, head: str, status: str, *fields: str, body: bytes = b"") -> None:
    number = next(line.split(":", 1)[1].strip() for line in head.split("\r\n") if line.lower().startswith("cseq:"))
    lines = [f"RTSP/1.0 {status}", f"CSeq: {number}", *fields, f"Content-Length: {len(body)}", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
