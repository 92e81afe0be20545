"""FTP's data connections: which one the client and we agree on, and who calls whom."""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import TYPE_CHECKING

from agent.server.ingest import ftpdata
from agent.server.ingest.ftpdata import Active, DataError

if TYPE_CHECKING:
    from agent.server.ingest.ftp import FtpControl, FtpIngest

EPRT = re.compile(r"([^\x00-\x20])([12])\1([0-9a-fA-F.:]{2,45})\1([0-9]{1,5})\1\Z")


class DataPort:
    """One session's: PASV, EPSV, PORT, EPRT and PROT agree on a connection, an upload or a list takes it."""

    def __init__(self, ingest: FtpIngest, control: FtpControl) -> None:
        self._ingest = ingest
        self._control = control
        self._reply = control.reply
        self._opening: ftpdata.Opening | None = None
        self._epsv_all = False
        self.private = False

    def agree(self, opening: ftpdata.Opening | None) -> None:
        if self._opening is not None:
            self._opening.close()
        self._opening = opening

    def _passive(self) -> int | None:
        self.agree(None)
        try:
            waiting = self._ingest.passive(self._control.host, self._control.peer)
        except OSError:
            self._reply(421, "No free data port; try again.")
            return None
        self.agree(waiting)
        return waiting.port

    def _do_pasv(self, argument: str) -> None:
        host = self._ingest.address or ftpdata.plain(self._control.host)
        if self._epsv_all or ":" in host:
            self._reply(*((501, "You said EPSV ALL.") if self._epsv_all else (425, "Use EPSV.")))
        elif (port := self._passive()) is not None:
            self._reply(227, f"Entering Passive Mode ({host.replace('.', ',')},{port >> 8},{port & 255})")

    def _do_epsv(self, argument: str) -> None:
        if argument.upper() == "ALL":
            self._epsv_all = True
            self._reply(200, "EPSV ALL.")
        elif (port := self._passive()) is not None:
            self._reply(229, f"Entering Extended Passive Mode (|||{port}|)")

    def _do_port(self, argument: str) -> None:
        numbers = argument.split(",")
        if len(numbers) != 6 or not all(n.isascii() and n.strip().isdecimal() and int(n) < 256 for n in numbers):
            self._reply(501, "PORT a,b,c,d,p,q")
            return
        *address, high, low = (int(n) for n in numbers)
        self._active(".".join(map(str, address)), high * 256 + low)

    def _do_eprt(self, argument: str) -> None:
        match = EPRT.match(argument)
        if match is None:
            self._reply(501, "EPRT |1|address|port|")
        else:
            self._active(match[3], int(match[4]))

    def _active(self, address: str, port: int) -> None:
        """To the client itself and nobody else, and to no privileged port: no bounce (RFC 2577)."""
        try:
            same = ipaddress.ip_address(address) == ipaddress.ip_address(self._control.peer)
        except ValueError:
            same = False
        if self._epsv_all or not same or not 1024 <= port <= 65535:
            self._reply(501, "Only to yourself, above 1023, and not after EPSV ALL.")
            return
        host = ftpdata.plain(self._control.host)
        self.agree(Active(host, self._control.peer, port))
        self._reply(200, "I shall call you.")

    def take(self) -> ftpdata.Opening:
        opening, self._opening = self._opening, None
        if opening is None:
            raise DataError(425, "PASV or PORT first.")
        return opening

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._ingest.tls.data if self.private and self._ingest.tls is not None else None
