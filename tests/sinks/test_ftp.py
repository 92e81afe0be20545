"""The FTP sink against Debian's vsftpd and proftpd as they come, and against odd servers made with pyftpdlib."""

from __future__ import annotations

import contextlib
import ftplib
import io
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError, PermanentError, TransientError
from agent.media.avi import read_index
from agent.outbox import MemoryOutbox
from agent.sinks import from_url
from agent.sinks.ftp import FtpSink
from tests.server.pictures import put_event
from tests.sinks.ftpservers import PASSWORD, USER, FTPHandler, FtpServer, proftpd, pyftpd, vsftpd
from tests.sinks.runs import running

Server = Callable[[bool], contextlib.AbstractContextManager[FtpServer]]


def sink_to(server: FtpServer, **more: Any) -> FtpSink:
    settings = {"url": server.url, "username": USER, "password": PASSWORD, "timeout_s": 10.0, "ca_file": server.ca_file}
    settings["tls"] = "explicit" if server.ca_file else "none"
    return FtpSink(**(settings | more))


def film(files: dict[str, bytes]) -> list[bytes]:
    (data,) = (d for name, d in files.items() if name.endswith(".avi"))
    return [data[at : at + n] for at, n in read_index(io.BytesIO(data)).pictures]


@pytest.mark.parametrize("active", [False, True], ids=["passive", "active"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", [vsftpd, proftpd])
async def test_real_servers_at_their_defaults(make: Server, tls: bool, active: bool) -> None:
    with make(tls) as server:
        box = MemoryOutbox("porch")
        pictures = put_event(box, 1, time.time_ns())
        async with running(sink_to(server, url=server.url + "/cams/front", active=active), box) as run:
            await run.drained()
            first = server.files()
            assert film(first) == pictures
            assert all(n.startswith("cams/front/porch/") for n in first) and len(first) == 3
            assert not [n for n in first if n.endswith(".part")]
            put_event(box, 2, time.time_ns() + 60_000_000_000)
            await run.drained()
        assert len(server.files()) == 6


@pytest.mark.parametrize("make", [vsftpd, pytest.param(proftpd, marks=pytest.mark.nightly)])
async def test_a_repeat_overwrites_itself_on_real_servers(make: Server) -> None:
    with make(False) as server:
        box = MemoryOutbox("porch")
        put_event(box, 1, time.time_ns())
        kept = dict(box._items)
        async with running(sink_to(server), box) as run:
            await run.drained()
            first = server.files()
            again = MemoryOutbox("porch")
            again._items, again.next_seq = kept, 100
            again._emptied.clear()
        async with running(sink_to(server), again) as run:
            await run.drained()
        assert server.files() == first


@pytest.mark.parametrize("make", [vsftpd, proftpd])
async def test_these_servers_do_refuse_a_data_connection_that_does_not_continue_the_session(make: Server) -> None:
    """Without this the tests above would prove nothing of it."""
    with make(True) as server:
        ftp = ftplib.FTP_TLS(context=ssl.create_default_context(cafile=server.ca_file), timeout=10)
        ftp.connect("127.0.0.1", server.port)
        ftp.login(USER, PASSWORD)
        ftp.prot_p()
        with pytest.raises((ftplib.Error, OSError)):
            ftp.storbinary("STOR x", io.BytesIO(b"x"))
        ftp.close()


@pytest.mark.parametrize("make", [vsftpd, proftpd])
async def test_a_certificate_that_is_not_trusted_is_refused(make: Server) -> None:
    with make(True) as server:
        box = MemoryOutbox("porch")
        async with running(sink_to(server, ca_file=None), box) as run:
            error = await run.ended()
    assert isinstance(error, PermanentError) and "certificate" in str(error)
    assert PASSWORD not in (server.log.read_text() if server.log.exists() else "")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


async def ended(server: FtpServer, box: MemoryOutbox, **more: Any) -> BaseException:
    async with running(sink_to(server, **more), box) as run:
        return await run.ended()


def event() -> MemoryOutbox:
    box = MemoryOutbox("porch")
    put_event(box, 1, time.time_ns())
    return box


async def test_a_server_without_tls_is_not_told_the_password(home: Path) -> None:
    told: list[str] = []

    def pre(self: Any, line: str, cmd: str, arg: str) -> None:
        told.append(line)
        FTPHandler.pre_process_command(self, line, cmd, arg)

    with pyftpd(home, pre_process_command=pre) as server:
        error = await ended(server, event(), tls="explicit")
    assert isinstance(error, PermanentError) and "has no TLS" in str(error)
    assert told == ["AUTH TLS", "QUIT"]


async def test_an_address_alone_can_do_without_tls(home: Path) -> None:
    with pyftpd(home) as server:
        address = server.url.replace("://", f"://{USER}:{PASSWORD}@")
        async with running(from_url(address), event()) as run:
            assert "in an address '?tls=none'" in str(await run.ended())
        async with running(from_url(f"{address}?tls=none"), event()) as run:
            await run.drained()
    assert list(home.rglob("*.avi"))


@pytest.mark.parametrize("query", ["tls=maybe", "tls", "ssl=none", "tls=none&active=yes"])
def test_what_else_stands_behind_an_address_is_refused(query: str) -> None:
    with pytest.raises(ConfigError, match="behind the \\? of an ftp address stands nothing but tls="):
        from_url(f"ftp://user:word@nas/folder?{query}")
    with pytest.raises(ConfigError, match="'tls' is a key of its own"):
        FtpSink(url=f"ftp://nas/folder?{query}")


async def test_a_server_that_renames_nothing_gets_the_files_directly(home: Path) -> None:
    with pyftpd(home, perm="elradmw") as server:
        box = event()
        async with running(sink_to(server), box) as run:
            await run.drained()
        assert len(server.files()) == 3 and not [n for n in server.files() if n.endswith(".part")]


async def test_a_server_that_does_not_rename_over_a_file(home: Path) -> None:
    def rnto(self: Any, path: str) -> Any:
        if Path(path).exists():
            self.respond("553 File exists.")
            return None
        return FTPHandler.ftp_RNTO(self, path)

    with pyftpd(home, ftp_RNTO=rnto) as server:
        for _ in range(2):
            box = event_at(1_795_420_800_000_000_000)
            async with running(sink_to(server), box) as run:
                await run.drained()
        assert len(server.files()) == 3


def event_at(wall_ns: int) -> MemoryOutbox:
    box = MemoryOutbox("porch")
    put_event(box, 1, wall_ns)
    return box


async def test_a_file_that_came_short_is_not_believed(home: Path) -> None:
    def size(self: Any, path: str) -> None:
        self.respond("213 7")

    with pyftpd(home, ftp_SIZE=size) as server:
        box = event()
        error = await ended(server, box)
    assert isinstance(error, TransientError) and "has 7 bytes there instead of" in str(error)
    assert len(box) == 6 and not [n for n in server.files() if not n.endswith(".part")]


async def test_a_server_without_size_is_taken_at_its_word(home: Path) -> None:
    def size(self: Any, path: str) -> None:
        self.respond("502 Not here.")

    with pyftpd(home, ftp_SIZE=size) as server:
        box = event()
        async with running(sink_to(server), box) as run:
            await run.drained()
        assert len(server.files()) == 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("452 Disk full.", TransientError),
        ("552 Over quota.", TransientError),
        ("553 Not allowed, canary-ftp-Pa55.", PermanentError),
    ],
)
async def test_what_a_server_says_is_passed_on_without_secrets(home: Path, reply: str, kind: type[Exception]) -> None:
    def stor(self: Any, path: str, mode: str = "w") -> None:
        self.respond(reply)

    with pyftpd(home, ftp_STOR=stor) as server:
        box = event()
        error = await ended(server, box)
    assert type(error) is kind and reply[:3] in str(error) and PASSWORD not in str(error)
    assert len(box) == 6


async def test_one_session_is_kept_for_everything(home: Path) -> None:
    logins: list[str] = []

    def on_login(self: Any, username: str) -> None:
        logins.append(username)

    with pyftpd(home, on_login=on_login) as server:
        box = MemoryOutbox("porch")
        async with running(sink_to(server), box) as run:
            for n in range(1, 4):
                put_event(box, n, time.time_ns() + n * 60_000_000_000)
                await run.drained()
    assert logins == [USER] and len(server.files()) == 9


async def test_the_pictures_of_a_template(home: Path) -> None:
    with pyftpd(home) as server:
        box = event_at(1_795_420_800_000_000_000)
        async with running(sink_to(server, clips="pictures", path="{year}/{camera}_{seq}_{time}.jpg"), box) as run:
            await run.drained()
        names = [n for n in server.files() if n.endswith(".jpg")]
    assert len(names) == 10 and all(n.startswith("2026/porch_") for n in names)
