"""One FTP session, blocking, for a thread: ftplib with what real servers need besides."""

from __future__ import annotations

import contextlib
import ftplib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.errors import PermanentError, TransientError
from agent.exits import PERMISSION
from agent.sinks.body import Body
from agent.sinks.filing import Unwanted
from agent.trust import distrusted, trust

T = TypeVar("T")
PART = ".part"
_UNKNOWN = ("500", "501", "502", "504")  # the command is not known, or not here
_LATER = ("552",)  # "exceeded storage allocation": there may be room again


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to, and as whom."""

    label: str
    host: str
    port: int
    folder: str
    username: str
    password: str = field(repr=False)
    tls: bool
    ca_file: str | None
    active: bool
    timeout_s: float


class _Tls(ftplib.FTP_TLS):
    """Data connections continue the TLS session of the commands.

    vsftpd and proftpd refuse them otherwise: it proves that both ends of both connections are the same.
    """

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:  # type: ignore[attr-defined]
            sock: Any = self.sock
            try:
                conn = self.context.wrap_socket(conn, server_hostname=self.host, session=sock.session)
            except BaseException:
                conn.close()
                raise
        return conn, size


class FtpSession:
    """Open it, put files, close it. Every wait ends after `timeout_s` without a byte.

    Raises TransientError and PermanentError that begin with the label and never show the password. `abort` may be
    called from another thread.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ftp: ftplib.FTP | None = None
        self._data: socket.socket | None = None
        self._made: set[str] = set()
        self._rename = True
        self._size = True

    def open(self) -> None:
        self._said(self._open)

    def put(self, path: str, body: Body) -> None:
        """The whole file under its name, over what stood there; never a part of it."""
        self._said(self._put, path, body)

    def noop(self) -> None:
        self._said(lambda: self._server.voidcmd("NOOP"))

    def abort(self) -> None:
        """Have whatever waits now fail at once."""
        for sock in (self._data, self._ftp.sock if self._ftp else None):
            if sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        ftp, self._ftp = self._ftp, None
        if ftp is None:
            return
        if ftp.sock is not None:
            with contextlib.suppress(*ftplib.all_errors, ValueError):
                ftp.sock.settimeout(2.0)
                ftp.quit()
        ftp.close()

    @property
    def pictures_only(self) -> bool:
        """It is a camera server, which takes from FTP what cameras send: no films, and no records."""
        return self._server.getwelcome().startswith("220 camera-agent: uploads only")

    @property
    def _server(self) -> ftplib.FTP:
        if self._ftp is None:
            raise EOFError
        return self._ftp

    def _open(self) -> None:
        p = self._place
        context = trust(p.label, p.ca_file) if p.tls else None
        ftp = _Tls(context=context, timeout=p.timeout_s) if context else ftplib.FTP(timeout=p.timeout_s)
        self._ftp = ftp
        ftp.connect(p.host, p.port)
        if isinstance(ftp, ftplib.FTP_TLS):
            self._secure(ftp)
        ftp.login(p.username, p.password)
        if isinstance(ftp, ftplib.FTP_TLS):
            ftp.prot_p()
        ftp.set_pasv(not p.active)
        ftp.voidcmd("TYPE I")
        if p.folder:
            self._make(p.folder)
            ftp.cwd(p.folder)
            self._made.clear()

    def _secure(self, ftp: ftplib.FTP_TLS) -> None:
        try:
            ftp.auth()
        except ftplib.error_perm:
            hint = "'tls: none' (in an address '?tls=none') would do without, and show the password"
            raise PermanentError(f"{self._place.label}: the server has no TLS; {hint}") from None

    def _put(self, path: str, body: Body) -> None:
        self._make(path.rpartition("/")[0])
        if not self._rename:
            self._store(path, body)
            return
        self._store(path + PART, body)
        try:
            self._move(path + PART, path)
        except ftplib.error_perm:
            # A server that takes files but renames none: there they go straight to their names.
            self._store(path, body)
            self._rename = False
            with contextlib.suppress(ftplib.error_perm):
                self._server.delete(path + PART)

    def _store(self, path: str, body: Body) -> None:
        self._transfer(path, body.blocks())
        if not self._size:
            return
        try:
            there = self._server.size(path)
        except ftplib.error_perm as e:
            self._size = str(e)[:3] not in _UNKNOWN
            return
        if there is not None and there != body.length:
            text = f"{self._place.label}: {path} has {there} bytes there instead of {body.length}"
            raise TransientError(text)

    def _transfer(self, path: str, blocks: Iterator[bytes]) -> None:
        """STOR, with the end of the data said properly, and the server's word that it has them."""
        conn = self._server.transfercmd(f"STOR {path}")
        self._data = conn
        try:
            for block in blocks:
                conn.sendall(block)
            if isinstance(conn, ssl.SSLSocket):
                # Some servers close without answering the goodbye; their word on the command line counts.
                with contextlib.suppress(OSError, ValueError):
                    conn.unwrap()
        finally:
            self._data = None
            conn.close()
        self._server.voidresp()

    def _move(self, old: str, new: str) -> None:
        try:
            self._server.rename(old, new)
        except ftplib.error_perm:
            self._server.delete(new)  # some do not rename over what is there
            self._server.rename(old, new)

    def _make(self, folder: str) -> None:
        """Each folder down to this one, once; that it exists is no error, and whether it does STOR will show."""
        parts = folder.split("/") if folder else []
        for i in range(1, len(parts) + 1):
            path = "/".join(parts[:i])
            if path not in self._made:
                with contextlib.suppress(ftplib.error_perm):
                    self._server.mkd(path)
                self._made.add(path)

    def _said(self, work: Callable[..., T], *args: Any) -> T:
        """Do it; every error in the house's words."""
        label = self._place.label
        try:
            return work(*args)
        except ftplib.error_perm as e:
            if str(e).startswith("550 Not kept") and self.pictures_only:
                raise Unwanted(f"{label}: the server says: {self._clean(str(e))}") from None
            raise self._refused(str(e)) from None
        except ftplib.Error as e:
            raise TransientError(f"{label}: the server says: {self._clean(str(e))}") from None
        except ssl.SSLCertVerificationError as e:
            raise PermanentError(f"{label}: {distrusted(e)}") from None
        except EOFError:
            raise TransientError(f"{label}: the server closed the connection") from None
        except TimeoutError:
            raise TransientError(f"{label}: no progress within {self._place.timeout_s:g} s") from None
        except socket.gaierror:
            raise TransientError(f"{label}: name not found") from None
        except OSError as e:
            raise TransientError(f"{label}: {self._clean(e.strerror or str(e))}") from None

    def _refused(self, reply: str) -> TransientError | PermanentError:
        text = f"{self._place.label}: the server says: {self._clean(reply)}"
        if reply[:3] in _LATER:
            return TransientError(text)
        return PermanentError(text, PERMISSION) if reply[:3] == "530" else PermanentError(text)

    def _clean(self, text: str) -> str:
        """A server's words, short, on one line and without our password."""
        if self._place.password:
            text = text.replace(self._place.password, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
