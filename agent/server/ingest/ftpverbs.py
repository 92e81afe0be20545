"""FTP's commands, as cameras use them: whatever they make of names and folders, their pictures get in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from agent.media import jpeg
from agent.server.archive import Outcome
from agent.server.camera import Camera
from agent.server.ingest import ftpdata
from agent.server.ingest.ftpdata import DataError, Inflow, Opening
from agent.server.ingest.ftpnames import Shelf, listing, resolve
from agent.server.ingest.ftpports import DataPort
from agent.server.ingest.pictures import MAX_PICTURE_BYTES, NotAPicture
from agent.server.ingest.room import Share

if TYPE_CHECKING:
    from agent.server.ingest.ftp import FtpControl, FtpIngest

TEST_BYTES = 1024
MAX_FAILURES = 6
LONGEST_DELAY_S = 8.0
SYNONYMS = {"XMKD": "MKD", "XCWD": "CWD", "XPWD": "PWD", "XRMD": "RMD", "XCUP": "CDUP"}
BETWEEN = {"REST", "TYPE", "PASV", "EPSV", "PORT", "EPRT", "PROT", "PBSZ"}  # may come behind REST
FREE = {"USER", "PASS", "AUTH", "PBSZ", "PROT", "FEAT", "SYST", "NOOP", "OPTS", "QUIT", "HELP", "CLNT", "ACCT", "ABOR"}
FEATURES = ("EPRT", "EPSV", "MDTM", "MLST type*;size*;modify*;", "REST STREAM", "SIZE", "UTF8", "TVFS")

Work = Coroutine[Any, Any, None]
"""What is left of a command that has to wait."""


class Quit(Exception):
    """The session is over."""


class Commands:
    """One session's state: who, where, and the data connection that was agreed on."""

    def __init__(self, ingest: FtpIngest, control: FtpControl) -> None:
        self._ingest = ingest
        self._control = control
        self._reply = control.reply
        self._user = ""
        self._failures = 0
        self._camera: Camera | None = None
        self._cwd = "/"
        self._data = DataPort(ingest, control)
        self._ascii = True  # until TYPE says otherwise (RFC 959, 5.1)
        self._asked = self._offset = 0  # REST: of this command, of the next one
        self._renaming = ""

    def close(self) -> None:
        self._data.agree(None)
        if self._camera is not None:
            self._ingest.cameras.forget(self._camera, self._end)

    def run(self, line: bytes) -> Work | None:
        """Do one command; returns the rest of one that has to wait. Raises Quit at the session's end."""
        text = line.decode("utf-8", "surrogateescape").strip(" ")
        verb, _, argument = text.partition(" ")
        verb = SYNONYMS.get(verb.upper(), verb.upper())
        if verb not in BETWEEN:
            self._offset, self._asked = 0, self._offset
        name = f"_do_{verb.lower()}"
        handler: Callable[[str], Work | None] | None = getattr(self, name, None) or getattr(self._data, name, None)
        if not verb.isalnum() or handler is None:
            self._reply(*((500, "What?") if verb not in ("SMNT", "REIN") else (502, "Not here.")))
        elif self._camera is None and verb not in FREE:
            self._reply(530, "Log in first.")
        else:
            try:
                if (work := handler(argument)) is not None:
                    return self._wait(work)
            except (ValueError, DataError) as e:
                self._refuse(e)
        return None

    async def _wait(self, work: Work) -> None:
        try:
            await work
        except (ValueError, DataError) as e:
            self._refuse(e)

    def _refuse(self, e: Exception) -> None:
        if isinstance(e, DataError):
            self._data.agree(None)
            self._reply(e.code, str(e))
        else:
            self._reply(553, f"Not that name: {e}.")

    # Who

    def _do_user(self, argument: str) -> None:
        self._leave()
        self._user = argument
        self._reply(331, "And the password?")

    def _do_pass(self, argument: str) -> Work | None:
        camera = self._login(argument) if not self._ingest.throttle.wait_s(self._control.peer) else None
        if camera is None:
            return self._doubt(argument)
        self._admit(camera)
        return None

    def _login(self, password: str) -> Camera | None:
        return self._ingest.cameras.login(self._user, password)

    async def _doubt(self, password: str) -> None:
        """The login may be of a camera that another process made; else it is wrong, and that takes its time."""
        throttle, peer = self._ingest.throttle, self._control.peer
        if wait_s := throttle.wait_s(peer):
            await asyncio.sleep(min(wait_s, LONGEST_DELAY_S))
        await self._ingest.cameras.refresh()
        if (camera := self._login(password)) is not None:
            self._admit(camera)
            return
        throttle.failed(peer)
        self._failures += 1
        await asyncio.sleep(min(0.25 * 2**self._failures, LONGEST_DELAY_S))
        self._reply(530, "Wrong login, or the camera was deleted or has ended.")
        if self._failures >= MAX_FAILURES:
            raise Quit

    def _admit(self, camera: Camera) -> None:
        self._ingest.throttle.succeeded(self._control.peer)
        self._camera = camera
        self._ingest.cameras.remember(camera, self._end)
        self._ingest.presence.touch(camera)
        self._reply(230, "Upload when you like.")

    def _end(self, code: int, reason: str) -> None:
        self._control.end(530 if code == 4410 else 421, f"{reason}.")

    def _leave(self) -> None:
        if self._camera is not None:
            self._ingest.cameras.forget(self._camera, self._end)
        self._camera = None
        self._data.agree(None)

    def _do_acct(self, argument: str) -> None:
        self._reply(202, "Not needed.")

    def _do_quit(self, argument: str) -> None:
        self._reply(221, "Bye.")
        raise Quit

    async def _do_auth(self, argument: str) -> None:
        if self._ingest.tls is None or argument.upper() not in ("TLS", "TLS-C", "SSL"):
            self._reply(*((502, "No TLS here.") if self._ingest.tls is None else (504, "TLS only.")))
        elif self._control.secure:
            self._reply(503, "It is TLS already.")
        else:
            self._leave()
            await self._control.start_tls(self._ingest.tls.pages)

    def _do_pbsz(self, argument: str) -> None:
        self._reply(*((200, "PBSZ=0") if self._control.secure else (503, "AUTH first.")))

    def _do_prot(self, argument: str) -> None:
        if not self._control.secure:
            self._reply(503, "AUTH first.")
        elif argument.upper() not in ("C", "P"):
            self._reply(536, "C or P.")
        else:
            self._data.private = argument.upper() == "P"
            self._reply(200, "As you like.")

    # What is asked for politeness

    def _do_feat(self, argument: str) -> None:
        tls = ("AUTH TLS", "PBSZ", "PROT") if self._ingest.tls is not None else ()
        self._reply(211, "Features:", *(f" {f}" for f in (*FEATURES, *tls)), "End")

    def _do_help(self, argument: str) -> None:
        self._reply(214, "STOR a JPEG.")

    def _do_syst(self, argument: str) -> None:
        self._reply(215, "UNIX Type: L8")

    def _do_noop(self, argument: str) -> None:
        self._reply(200, "Here.")

    def _do_opts(self, argument: str) -> None:
        self._reply(200, "Yes.")

    _do_clnt = _do_allo = _do_site = _do_opts

    def _do_type(self, argument: str) -> None:
        form = argument.upper().replace(" ", "")
        if form in ("A", "AN", "I", "L8"):
            self._ascii = form.startswith("A")
            self._reply(200, "As you like.")
        else:
            self._reply(504, "A or I.")

    def _do_mode(self, argument: str) -> None:
        self._reply(*((200, "Stream.") if argument.upper() == "S" else (504, "S only.")))

    def _do_stru(self, argument: str) -> None:
        self._reply(*((200, "File.") if argument.upper() == "F" else (504, "F only.")))

    def _do_stat(self, argument: str) -> None:
        self._reply(211, "All is well.")

    def _do_abor(self, argument: str) -> None:
        self._data.agree(None)
        self._reply(226, "Nothing is going on.")

    # Where

    def _do_pwd(self, argument: str) -> None:
        quoted = self._cwd.replace('"', '""')
        self._reply(257, f'"{quoted}" is where you are.')

    def _do_cwd(self, argument: str) -> None:
        self._cwd = resolve(self._cwd, argument)
        self._reply(250, "There.")

    def _do_cdup(self, argument: str) -> None:
        self._do_cwd("..")

    def _do_mkd(self, argument: str) -> None:
        path = resolve(self._cwd, argument).replace('"', '""')
        self._reply(257, f'"{path}" is there.')

    def _do_rmd(self, argument: str) -> None:
        resolve(self._cwd, argument)
        self._reply(250, "Gone.")

    def _do_dele(self, argument: str) -> None:
        found = self._shelf.remove(resolve(self._cwd, argument))
        self._reply(*((250, "Gone from this list.") if found else (550, "No such name.")))

    def _do_rnfr(self, argument: str) -> None:
        self._renaming = resolve(self._cwd, argument)
        found = self._shelf.get(self._renaming) is not None
        self._reply(*((350, "To what?") if found else (550, "No such name.")))

    def _do_rnto(self, argument: str) -> None:
        old, self._renaming = self._renaming, ""
        done = bool(old) and self._shelf.rename(old, resolve(self._cwd, argument))
        self._reply(*((250, "So it is called.") if done else (503, "RNFR first.")))

    def _do_size(self, argument: str) -> None:
        entry = self._shelf.get(resolve(self._cwd, argument))
        self._reply(*((213, str(entry.size)) if entry else (550, "No such name.")))

    def _do_mdtm(self, argument: str) -> None:
        entry = self._shelf.get(resolve(self._cwd, argument))
        if entry is None:
            self._reply(550, "No such name.")
        else:
            self._reply(213, time.strftime("%Y%m%d%H%M%S", time.gmtime(entry.at_s)))

    @property
    def _shelf(self) -> Shelf:
        assert self._camera is not None
        return self._ingest.shelf(self._camera)

    # Pictures

    def _do_rest(self, argument: str) -> None:
        if not (argument.isascii() and argument.isdecimal()) or len(argument) > 12:
            self._reply(501, "A number.")
            return
        self._offset = int(argument)
        self._reply(350, "And then?")

    async def _do_list(self, argument: str) -> None:
        await self._list(argument, "LIST")

    async def _do_nlst(self, argument: str) -> None:
        await self._list(argument, "NLST")

    async def _do_mlsd(self, argument: str) -> None:
        await self._list(argument, "MLSD")

    async def _list(self, argument: str, form: str) -> None:
        name = "" if argument.startswith("-") else argument
        entries = self._shelf.inside(resolve(self._cwd, name))
        opening = self._data.take()
        try:
            self._reply(150, "Your recent names.")
            await ftpdata.send(opening, self._data.tls, listing(entries, form))
        finally:
            opening.close()
        self._reply(226, "That is all.")

    def _do_mlst(self, argument: str) -> None:
        self._reply(502, "MLSD instead.")

    def _do_retr(self, argument: str) -> None:
        self._reply(550, "Uploads only.")

    def _do_stor(self, argument: str) -> Work | None:
        path = resolve(self._cwd, argument)
        before = self._shelf.beginning(path, self._asked) if self._asked else b""
        if self._asked and not before:
            self._reply(554, "Nothing to go on from.")
            return None
        return self._receive(path, before)

    def _do_appe(self, argument: str) -> Work | None:
        path = resolve(self._cwd, argument)
        return self._receive(path, self._shelf.beginning(path, None))

    def _do_stou(self, argument: str) -> Work | None:
        number = self._ingest.uploads.total()
        return self._receive(resolve(self._cwd, f"upload-{number}.jpg"), b"")

    def _receive(self, path: str, before: bytes) -> Work | None:
        """The upload counts when its data connection ended, whether or not anybody reads the answer."""
        assert self._camera is not None
        opening = self._data.take()
        share = self._ingest.desk.room.share(self._camera)
        self._reply(150, "Send it.")
        sock = opening.there() if self._data.tls is None else None
        if sock is None:
            return self._receive_later(opening, share, path, before)

        def ended() -> None:
            sock.close()
            opening.close()
            self._control.go_on(self._wait(self._received(inflow, share, path, before)))

        def stopped() -> None:
            inflow.stop()
            share.give_back()
            sock.close()
            opening.close()
            self._reply(426, "Stopped.")

        inflow = Inflow(sock, MAX_PICTURE_BYTES - len(before), share, ended)
        self._control.hold(stopped)
        return None

    async def _received(self, inflow: Inflow, share: Share, path: str, before: bytes) -> None:
        with share:
            data, ended = inflow.result()
            await self._store(path, before + (_as_it_was(data) if self._ascii else data), ended)

    async def _receive_later(self, opening: Opening, share: Share, path: str, before: bytes) -> None:
        """From a connection that is yet to come, or that TLS is to be made of."""
        with share:
            try:
                async with asyncio.timeout(None) as until:
                    self._control.stop = lambda: until.reschedule(0)
                    most = MAX_PICTURE_BYTES - len(before)
                    data, ended = await ftpdata.receive(opening, self._data.tls, most, share)
            except TimeoutError:
                self._reply(426, "Stopped.")
                return
            finally:
                self._control.stop = None
                opening.close()
            await self._store(path, before + (_as_it_was(data) if self._ascii else data), ended)

    async def _store(self, path: str, data: bytes, ended: bool) -> None:
        camera = self._camera
        if camera is None:
            return
        pictures = self._ingest.desk.of(camera)
        if not pictures.allowed():
            self._reply(450, "Too many pictures at once.")
            return
        try:
            stored, whole = await pictures.upload(data)
        except NotAPicture as e:
            if data.startswith(jpeg.START):
                self._shelf.cut(path, data)  # cut in its header: the rest may follow
            if ended and 0 < len(data) <= TEST_BYTES and data.isascii():
                self._reply(226, "A test file, I suppose; it works, and is not kept.")
            else:
                self._reply(550 if ended else 426, f"Not kept: {e}.")
            return
        self._ingest.uploads[stored.value] += 1
        if not stored.settled:
            full = stored is Outcome.FULL
            self._reply(452 if full else 550, "The store is full." if full else f"Not stored: {stored.value}.")
            return
        self._ingest.presence.touch(camera)
        self._shelf.put(path, len(data))
        if whole:
            self._shelf.settle(path)
            self._reply(226, "Stored.")
        else:
            self._shelf.cut(path, data)
            self._reply(226 if ended else 426, "Kept as truncated: the picture is not whole.")


def _as_it_was(data: bytes) -> bytes:
    """A picture without the CR that a client puts before each LF in ASCII mode (RFC 959, 3.1.1.1).

    Firmware that says ASCII and sends the picture as it is has LFs without one: that stays.
    """
    lines = data.count(b"\r\n")
    return data.replace(b"\r\n", b"\n") if lines == data.count(b"\n") else data
