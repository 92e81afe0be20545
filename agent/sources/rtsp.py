"""A camera that streams H.264, H.265 or Motion-JPEG over RTSP, and video over HTTP; its packets pass undecoded."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from dataclasses import dataclass, field, replace
from typing import Literal, Self
from urllib.parse import quote

from agent.errors import AgentError, ConfigError, UsageError
from agent.frame import Frame
from agent.sources import Publish
from agent.sources.device import Device, capture
from agent.sources.http import DEFAULT_PORTS, RTSP_PORTS, Url
from agent.sources.packets import MISSING, NO_CAMERA, UNUSABLE, Packets, Place
from agent.sources.pictures import Seconds, password_of

log = logging.getLogger(__name__)

SUBSTREAM_AGAIN_S = 15.0
SMALL_AGE_NS = 2_000_000_000
UDP_BUFFER_BYTES = 2 * 1024 * 1024
PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"


@dataclass(frozen=True, slots=True, repr=False)
class RtspSource:
    """The stream at `url` (rtsp, rtsps, or http and https for video files), credentials in it or beside it.

    `substream` is the address of the same camera's small stream: motion is looked for there, decoding little. It has
    the same login where its own address has none.
    With `reencode` every picture is decoded and coded anew as JPEG, which privacy masks need.
    `transport` is tcp, or udp where a camera knows nothing else: a lost packet then costs up to the next keyframe.
    `password_file` has the password in its first line.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    substream: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    reencode: bool = False
    connect_timeout_s: Seconds = 10.0
    stall_timeout_s: Seconds = 10.0

    def __post_init__(self) -> None:
        for key in ("url", "substream") if self.substream else ("url",):
            try:
                Url.parse(getattr(self, key), RTSP_PORTS | DEFAULT_PORTS)
            except ValueError as e:
                raise ConfigError(f"{key}: {e}") from None
        if importlib.util.find_spec("av") is None:
            raise ConfigError(MISSING)

    def __repr__(self) -> str:
        return f"RtspSource({self.label})"

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`rtsp://user:password@host[:port]/path`; raises UsageError."""
        try:
            return cls(text)
        except ConfigError as e:
            code = UNUSABLE if str(e) == MISSING else NO_CAMERA
            raise UsageError(f"no such camera: {e}" if code == NO_CAMERA else str(e), code) from None

    @property
    def label(self) -> str:
        return self._parse(self.url).label

    def parts(self) -> tuple[RtspSource, RtspSource | None]:
        """The big stream alone, and the small one where there is one."""
        if not self.substream:
            return self, None
        big, small = self._parse(self.url), self._parse(self.substream)
        username = self.username or small.username or big.username
        password = self.password or small.password or big.password
        alone = replace(self, substream="")
        return alone, replace(alone, url=self.substream, reencode=False, username=username, password=password)

    async def run(self, publish: Publish) -> None:
        big, little = self.parts()
        if little is None:
            return await self._capture(publish)
        small = _Small(publish)
        second = asyncio.create_task(self._second(little, small))
        try:
            await big.run(small.publish)
        finally:
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

    async def _second(self, little: RtspSource, small: _Small) -> None:
        """The small stream, again and again; without it the big one is decoded, which costs more and loses nothing.

        The whole run cannot begin anew for it, which would lose pictures, so it is tried again here.
        """
        told = False
        while True:
            why = "it has ended"
            try:
                await little.run(small.keep)
            except AgentError as e:
                why = str(e)
            came, small.newest = small.newest is not None, None
            level = logging.DEBUG if told and not came else logging.WARNING
            log.log(level, "%s: substream: %s; motion is looked for in the main stream", self.label, why)
            told = True
            await asyncio.sleep(SUBSTREAM_AGAIN_S)

    async def _capture(self, publish: Publish) -> None:
        url = self._parse(self.url)
        password = password_of(self.password or url.password, self.password_file)
        place = self._place(url, self.username or url.username, password)
        await capture(url.label, lambda: self._device(place), publish, self.stall_timeout_s)

    def _device(self, place: Place) -> Device:
        if not self.reencode:
            return Packets(place)
        from agent.sources.recode import Recoded

        return Recoded(Packets(place))

    def _parse(self, address: str) -> Url:
        return Url.parse(address, RTSP_PORTS | DEFAULT_PORTS)

    def _place(self, url: Url, username: str, password: str) -> Place:
        login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
        film = url.scheme in DEFAULT_PORTS
        options = {"protocol_whitelist": PROTOCOLS}
        if not film:
            options |= {
                "rtsp_transport": self.transport,
                "allowed_media_types": "video",
                "timeout": str(round(self.stall_timeout_s * 1e6)),
                # Nobody here asks for more than the codec, which the description tells: 0 would mean 5 s of looking.
                "analyzeduration": "1",
                "fpsprobesize": "0",
            }
            if self.transport == "udp":
                options["buffer_size"] = str(UDP_BUFFER_BYTES)  # the kernel gives as much of it as it may
        return Place(
            f"{url.scheme}://{login}{url.authority}{url.target}",
            options,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.stall_timeout_s,
            paced=film,
        )


class _Small:
    """Gives each frame of the big stream the newest one of the small."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self.newest: Frame | None = None

    def keep(self, frame: Frame) -> None:
        self.newest = frame

    def publish(self, frame: Frame) -> None:
        small = self.newest
        if small is not None and frame.pts_ns - small.pts_ns < SMALL_AGE_NS:
            frame = replace(frame, small=small)
        self._publish(frame)
