"""FTP ingest with real clients and with what camera firmware does; pyftpdlib's tests would be too kind."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import gc
import io
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.media import clip
from agent.server.app import CameraServer
from agent.server.cameras import Keys
from agent.server.ingest.ftpdata import Inflow
from tests.pictures import jpeg as noisy
from tests.server.conftest import Start
from tests.server.pictures import jpeg
from tests.server.test_ways_in import stored


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


def certificate(folder: Path) -> tuple[str, str]:
    """A new one in `folder`; skips where it cannot be made."""
    folder.mkdir(exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("NO openssl: TLS is NOT tested")
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ),
        check=True,
        capture_output=True,
    )
    return str(cert), str(key)


@dataclass
class Ftp:
    server: CameraServer
    keys: Keys
    picture: Path
    sockets: list[socket.socket] = field(default_factory=list)

    def connect(self, port: int, source: str = "127.0.0.1") -> socket.socket:
        """A connection that is closed after the test."""
        sock = socket.create_connection(("127.0.0.1", port), source_address=(source, 0), timeout=20)
        self.sockets.append(sock)
        return sock

    @property
    def port(self) -> int:
        assert self.server.ftp_port
        return self.server.ftp_port

    async def stored(self) -> list[tuple[bytes, bool]]:
        return [(data, bool(flags & clip.TRUNCATED)) for data, flags in await stored(self.server)]


@pytest.fixture
async def ftp(start: Start, files: tuple[str, str], tmp_path: Path) -> AsyncIterator[Ftp]:
    server = await start(notes={}, ftp_port=0, tls_cert=files[0], tls_key=files[1])
    (tmp_path / "sent").mkdir()
    picture = tmp_path / "sent" / "picture.jpg"
    picture.write_bytes(jpeg(5, 640, 480))
    ftp = Ftp(server, await server.issue_keys("porch"), picture)
    yield ftp
    for sock in ftp.sockets:
        sock.close()


def matrix() -> list[tuple[str, ...]]:
    """The command lines of clients in the field: @H host, @P port, @U user, @W password, @F file, @D its folder."""
    curl = ("curl", "-sS", "-m", "20", "-k", "-u", "@U:@W", "-T", "@F")
    url = "ftp://@H:@P/some/where/a b.jpg"
    runs = [
        (*curl, url.replace(" ", "%20")),
        (*curl, "--disable-epsv", url.replace(" ", "%20")),
        (*curl, "-P", "-", url.replace(" ", "%20")),
        (*curl, "-P", "-", "--disable-eprt", url.replace(" ", "%20")),
        (*curl, "--ftp-create-dirs", "ftp://@H:@P/new/folder/x.jpg"),
        (*curl, "-a", "ftp://@H:@P/x.jpg"),
        (*curl, "-Q", "-RNFR x.tmp", "-Q", "-RNTO x.jpg", "ftp://@H:@P/x.tmp"),
        (*curl, "-B", "ftp://@H:@P/x.jpg"),
        (*curl, "--ssl-reqd", "ftp://@H:@P/x.jpg"),
        (*curl, "--ssl-reqd", "--tls-max", "1.2", "ftp://@H:@P/x.jpg"),
        # active with TLS is lftp's: curl before 8.0 sends the data in clear then
    ]
    for tls in ("set ftp:ssl-allow no", "set ftp:ssl-force yes; set ftp:ssl-protect-data yes"):
        for mode in ("yes", "no"):
            script = f"set ssl:verify-certificate no; {tls}; set ftp:passive-mode {mode}; set net:timeout 15; "
            for put in ("put @F -o d/x.jpg", "mput @F", "put -a @F"):
                runs.append(("lftp", "-u", "@U,@W", "-p", "@P", "-e", f"{script}{put}; bye", "@H"))
    runs.append(("lftp", "-u", "@U,@W", "-p", "@P", "-e", "set ftp:ssl-allow no; mirror -R @D up; bye", "@H"))
    runs += [
        ("ncftpput", "-u", "@U", "-p", "@W", "-P", "@P", *mode, "@H", "/up", "@F")
        for mode in (("-E",), ("-F",), ("-m",))
    ]
    login = "user @U @W\nbinary\n"
    runs += [("tnftp", "-n", mode, "@H", "@P", f"<{login}put @F x.jpg\nbye\n") for mode in ("-A", "-p")]
    runs += [("inetutils-ftp", "-n", *mode, "@H", "@P", f"<{login}put @F x.jpg\nbye\n") for mode in ((), ("-p",))]
    runs.append(("inetutils-ftp", "-n", "@H", "@P", f"<{login}ascii\nput @F x.jpg\nbye\n"))
    return runs


@pytest.mark.parametrize("run", matrix(), ids=lambda run: " ".join(run)[:70])
async def test_clients_of_the_field(ftp: Ftp, run: tuple[str, ...]) -> None:
    if not shutil.which(run[0]):
        pytest.skip(f"NO {run[0]}: it is NOT tested")
    await upload_by(ftp, run)


async def upload_by(ftp: Ftp, run: tuple[str, ...]) -> None:
    values = {"@H": "127.0.0.1", "@P": str(ftp.port), "@U": ftp.keys.login, "@W": ftp.keys.password}
    values |= {"@F": str(ftp.picture), "@D": str(ftp.picture.parent)}

    def fill(text: str) -> str:
        return re.sub("@[HPUWFD]", lambda m: values[m[0]], text)

    command = [fill(x) for x in run if not x.startswith("<")]
    said = "".join(fill(x[1:]) for x in run if x.startswith("<")).encode()
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(40):
        answer = (await process.communicate(said))[0].decode(errors="replace")
    assert process.returncode == 0, answer
    assert await ftp.stored() == [(ftp.picture.read_bytes(), False)], answer


class Raw:
    """A control connection, line by line."""

    def __init__(self, ftp: Ftp) -> None:
        self.ftp = ftp
        self.sock = ftp.connect(ftp.port)
        self.buffer = b""

    def line(self) -> bytes:
        while b"\n" not in self.buffer and (chunk := self.sock.recv(4096)):
            self.buffer += chunk
        line, end, self.buffer = self.buffer.partition(b"\n")
        return line + end

    def read(self) -> str:
        while (line := self.line().decode()) and (line[3:4] == "-" or not line[:3].isdigit()):
            pass
        return line

    def ask(self, line: str, end: str = "\r\n") -> str:
        self.sock.sendall((line + end).encode())
        return self.read()

    def login(self) -> Raw:
        self.read()
        assert self.ask(f"USER {self.ftp.keys.login}").startswith("331")
        assert self.ask(f"PASS {self.ftp.keys.password}").startswith("230")
        return self

    def data(self) -> socket.socket:
        answer = self.ask("EPSV")
        return self.ftp.connect(int(answer.split("|")[3]))

    def stor(self, name: str, data: bytes, verb: str = "STOR") -> str:
        sock = self.data()
        assert self.ask(f"{verb} {name}").startswith("150")
        sock.sendall(data)
        sock.close()
        return self.read()


async def test_dumb_firmware(ftp: Ftp) -> None:
    """Lower case, bare LF, X-commands, MKD of what is there, a link cut right after the last byte, MKD by nc."""

    def work() -> None:
        raw = Raw(ftp)
        raw.read()
        assert raw.ask(f"user {ftp.keys.login}", "\n").startswith("331")
        assert raw.ask(f"pass {ftp.keys.password}", "\n").startswith("230")
        for line, code in (
            ("xmkd /2026/11/25", "257"),
            ("mkd /2026/11/25", "257"),
            ("xcwd /2026/11/25", "250"),
            ("xpwd", "257"),
            ("allo 30000", "200"),
            ("site chmod 777 x", "200"),
            ("mode s", "200"),
            ("stru f", "200"),
            ("type l8", "200"),
            ("size nothing", "550"),
            ("noop", "200"),
            ("dele nothing", "550"),
            ("retr x", "550"),
            ("stor x.jpg", "425"),
            ("PORT 10,0,0,1,200,1", "501"),
            ("PORT 127,0,0,1,0,80", "501"),
            ("PORT 127,0,0,１,200,1", "501"),
            ("EPRT |1|127.0.0.1|３０００|", "501"),
            ("REST ５", "501"),
            ("EPRT |1|10.0.0.1|3000|", "501"),
            ("STOR \x01", "553"),
            ("florp", "500"),
        ):
            assert raw.ask(line, "\n").startswith(code), line
        assert raw.stor("fixed.jpg", jpeg(1)).startswith("226")
        assert raw.stor("fixed.jpg", jpeg(2)).startswith("226")
        assert raw.ask("SIZE fixed.jpg") == f"213 {len(jpeg(2))}\r\n"
        sock = raw.data()
        raw.sock.sendall(b"STOR cut.jpg\r\n")
        sock.sendall(jpeg(3))
        sock.close()
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sock.close()  # the link goes without a word
        nc = ftp.connect(ftp.port)
        nc.sendall(f"USER {ftp.keys.login}\r\nPASS {ftp.keys.password}\r\nMKD /x\r\n".encode())
        nc.shutdown(socket.SHUT_WR)
        said = b""
        while chunk := nc.recv(1000):
            said += chunk
        assert b"257" in said

    await asyncio.to_thread(work)
    async with asyncio.timeout(60):
        while len(await ftp.stored()) < 3:
            await asyncio.sleep(0.05)
    assert await ftp.stored() == [(jpeg(n), False) for n in (1, 2, 3)]


async def test_cut_uploads_are_truncated_and_can_be_continued(ftp: Ftp) -> None:
    whole = jpeg(8, 640, 480)
    half = len(whole) // 2

    def work() -> list[str]:
        raw = Raw(ftp).login()
        said = [raw.stor("a.jpg", whole[:half])]
        sock = raw.data()
        assert raw.ask("STOR b.jpg").startswith("150")
        sock.sendall(whole[:half])
        time.sleep(0.2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()  # RST
        said.append(raw.read())
        assert raw.ask(f"REST {half}").startswith("350")
        said.append(raw.stor("b.jpg", whole[half:]))
        said.append(raw.stor("c.jpg", whole[:half]))
        said.append(raw.stor("c.jpg", whole[half:], "APPE"))
        said.append(raw.stor("test.txt", b"This is a test"))
        said.append(raw.stor("x.mp4", bytes(5000)))
        said.append(raw.stor("d.jpg", whole[:200]))
        said.append(raw.stor("d.jpg", whole[200:], "APPE"))
        said.append(raw.stor("e.jpg", b""))
        return said

    said = await asyncio.to_thread(work)
    assert [s[:3] for s in said] == ["226", "426", "226", "226", "226", "226", "550", "550", "226", "550"]
    assert "truncated" in said[0] and "truncated" in said[1]
    parts, kept = (whole[:half], True), (whole, False)
    assert await ftp.stored() == [parts, parts, kept, parts, kept, kept]


@pytest.mark.parametrize("name", ["{n}.jpg", "image.jpg"], ids=["two names", "one name"])
async def test_pictures_that_are_cut_at_once_are_both_truncated(ftp: Ftp, name: str) -> None:
    """Two sessions of one camera, one event; under one name the rest of one may not complete the other."""
    whole = [jpeg(8, 640, 480), jpeg(9, 640, 480)]
    half = len(whole[0]) // 2
    halves = [picture[:half] for picture in whole]
    together = threading.Barrier(2)

    def work(n: int) -> list[str]:
        raw = Raw(ftp).login()
        sock = raw.data()
        assert raw.ask(f"STOR {name.format(n=n)}").startswith("150")
        sock.sendall(halves[n])
        if n:
            time.sleep(0.2)  # it is there before the reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        together.wait(20)
        sock.close()
        said = [raw.read()]
        together.wait(20)
        if name == "image.jpg":
            said.append(raw.stor(name, whole[n][half:], "APPE"))
            raw.data()
            raw.ask(f"REST {half}")
            said.append(raw.ask(f"STOR {name}"))
        return said

    said = await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(2)))
    assert [s[0][:3] for s in said] == ["226", "426"] and all("truncated" in s[0] for s in said)
    assert all([more[:3] for more in s[1:]] in ([], ["550", "554"]) for s in said)
    assert sorted(await ftp.stored()) == sorted((picture, True) for picture in halves)
    camera = ftp.server._cameras.get("porch")
    assert camera is not None and camera.hub.latest is None, "neither is shown as the camera's picture"


@pytest.mark.parametrize("by", ["APPE", "STOR", "DELE"])
async def test_nothing_goes_on_from_a_cut_picture_that_was_made_good(ftp: Ftp, by: str) -> None:
    """A camera that appends under one name, always: its next picture is the next picture."""
    whole, another = jpeg(8, 640, 480), jpeg(9, 640, 480)
    half = len(whole) // 2

    def work() -> list[str]:
        raw = Raw(ftp).login()
        said = [raw.stor("a.jpg", whole[:half])]
        if by == "DELE":
            said.append(raw.ask("DELE a.jpg"))
        else:
            said.append(raw.stor("a.jpg", whole[half:] if by == "APPE" else whole, by))
        said.append(raw.stor("a.jpg", another, "APPE"))
        return said

    said = await asyncio.to_thread(work)
    assert [s[:3] for s in said] == ["226", "250" if by == "DELE" else "226", "226"]
    good = [] if by == "DELE" else [(whole, False)]
    assert await ftp.stored() == [(whole[:half], True), *good, (another, False)]


async def test_what_a_killed_curl_left_is_truncated_and_another_goes_on(ftp: Ftp) -> None:
    if not shutil.which("curl"):
        pytest.skip("NO curl: it is NOT tested")
    whole = noisy(8, 1280, 960)
    ftp.picture.write_bytes(whole)
    url = f"ftp://{ftp.keys.login}:{ftp.keys.password}@127.0.0.1:{ftp.port}/x.jpg"
    curl = ("curl", "-sS", "-T", str(ftp.picture), url)
    first = await asyncio.create_subprocess_exec(*curl, "--limit-rate", "200k")
    await asyncio.sleep(1.0)
    first.kill()
    await first.wait()
    async with asyncio.timeout(20):
        while not (found := await ftp.stored()):
            await asyncio.sleep(0.05)
    [(data, truncated)] = found
    assert truncated and len(data) < len(whole) and whole.startswith(data)
    second = await asyncio.create_subprocess_exec(*curl, "-C", "-")
    assert await second.wait() == 0
    assert await ftp.stored() == [(data, True), (whole, False)]


async def test_names_are_hostile_text(ftp: Ftp, tmp_path: Path) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())

    def work() -> list[str]:
        raw = Raw(ftp).login()
        names = ["../../../etc/x.jpg", "..\\..\\x.jpg", "/etc/passwd", "<img src=x>.jpg", "$(id).jpg", "a" * 400]
        said = [raw.stor(name, jpeg(n)) for n, name in enumerate(names)]
        said.append(raw.ask("STOR " + "b" * 3000))
        return said

    said = await asyncio.to_thread(work)
    assert [s[:3] for s in said] == ["226"] * 6 + ["553"]
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert len(await ftp.stored()) == 6
    files = [p.name for p in (ftp.server.settings.store_path / "items").rglob("*") if p.is_file()]
    assert all(re.fullmatch(r"\d+\.(clip|json)|journal-[ab]", name) for name in files), files


async def test_strangers_and_web_browsers_are_turned_away(ftp: Ftp) -> None:
    def work() -> None:
        raw = Raw(ftp)
        raw.read()
        for verb in ("STOR x", "LIST", "PASV", "MKD x", "CWD /"):
            assert raw.ask(verb).startswith("530")
        raw.ask("USER owner")
        assert raw.ask("PASS owner").startswith("530")
        web = ftp.connect(ftp.port)
        web.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER x\r\n")
        said = b""
        while chunk := web.recv(1000):
            said += chunk
        assert b"331" not in said and b"500" not in said
        long = Raw(ftp)
        long.read()
        long.sock.sendall(b"x" * 9000)
        assert long.read().startswith("500")

    await asyncio.to_thread(work)


async def test_commands_sent_in_clear_behind_auth_are_not_run(ftp: Ftp) -> None:
    def work() -> str:
        raw = Raw(ftp)
        raw.read()
        raw.sock.sendall(b"AUTH TLS\r\nUSER injected\r\nNOOP\r\n")
        assert raw.read().startswith("234")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        wrapped = context.wrap_socket(raw.sock)
        ftp.sockets.append(wrapped)
        wrapped.sendall(b"NOOP\r\n")
        return wrapped.recv(1000).decode()

    assert await asyncio.to_thread(work) == "200 Here.\r\n"


async def test_nobody_else_takes_the_data_port(ftp: Ftp) -> None:
    def work() -> None:
        raw = Raw(ftp).login()
        port = int(raw.ask("EPSV").split("|")[3])
        thief = ftp.connect(port, "127.0.0.2")
        assert raw.ask("STOR x.jpg").startswith("150")
        thief.sendall(jpeg(99))
        with pytest.raises(OSError):
            while thief.recv(10) == b"":
                raise OSError("closed")
        sock = ftp.connect(port)
        sock.sendall(jpeg(1))
        sock.close()
        assert raw.read().startswith("226")

    await asyncio.to_thread(work)
    assert await ftp.stored() == [(jpeg(1), False)]


@pytest.mark.parametrize("late", [False, True], ids=["connected before STOR", "connected after it"])
async def test_a_transfer_is_stopped_and_the_session_goes_on(ftp: Ftp, late: bool) -> None:
    """What is said meanwhile waits for its end."""

    def work() -> None:
        raw = Raw(ftp).login()
        port = int(raw.ask("EPSV").split("|")[3])
        sock = None if late else ftp.connect(port)
        raw.sock.sendall(b"STOR x.jpg\r\nNOOP\r\n")
        assert raw.read().startswith("150")
        if sock is None:
            time.sleep(0.1)  # by now it has seen that there is none
            sock = ftp.connect(port)
        sock.sendall(jpeg(9)[:-9])
        answers = [raw.ask("ABOR"), raw.read(), raw.read()]
        assert [answer[:3] for answer in answers] == ["426", "200", "226"]
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        assert raw.stor("y.jpg", jpeg(1)).startswith("226")

    await asyncio.to_thread(work)
    assert await ftp.stored() == [(jpeg(1), False)]
    assert not ftp.server._intake.room.held


async def test_deletion_ends_a_transfer(ftp: Ftp) -> None:
    raw = await asyncio.to_thread(lambda: Raw(ftp).login())

    def begin() -> socket.socket:
        sock = raw.data()
        assert raw.ask("STOR x.jpg").startswith("150")
        sock.sendall(jpeg(9)[:-9])
        return sock

    sock = await asyncio.to_thread(begin)
    await ftp.server.delete_camera("porch")
    assert (await asyncio.to_thread(raw.read)).startswith("530")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.to_thread(sock.recv, 1) == b""
    assert await asyncio.to_thread(raw.read) == ""
    assert not ftp.server._intake.room.held


async def test_deletion_ends_the_session_and_the_login(ftp: Ftp) -> None:
    raw = await asyncio.to_thread(lambda: Raw(ftp).login())
    await ftp.server.delete_camera("porch")
    assert (await asyncio.to_thread(raw.read)).startswith("530")
    again = Raw(ftp)

    def login() -> str:
        again.read()
        again.ask(f"USER {ftp.keys.login}")
        return again.ask(f"PASS {ftp.keys.password}")

    assert (await asyncio.to_thread(login)).startswith("530")


async def test_many_pictures_in_one_session_of_ftplib(ftp: Ftp) -> None:
    """As an agent's sink does it: TLS, session kept open, names listed."""

    class Client(ftplib.FTP_TLS):
        pass

    def work() -> list[str]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = Client(context=context, timeout=20)
        client.connect("127.0.0.1", ftp.port)
        client.login(ftp.keys.login, ftp.keys.password)
        client.prot_p()
        for n in range(40):
            client.storbinary(f"STOR {n}.jpg", io.BytesIO(jpeg(n)))
        names = client.nlst()
        client.quit()
        return names

    assert await asyncio.to_thread(work) == [f"{n}.jpg" for n in range(40)]
    assert [data for data, _ in await ftp.stored()] == [jpeg(n) for n in range(40)]


async def test_an_upload_leaves_nothing_for_the_collector(ftp: Ftp) -> None:
    def put() -> None:
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", ftp.port)
            client.login(ftp.keys.login, ftp.keys.password)
            for n in range(3):
                client.storbinary(f"STOR {n}.jpg", io.BytesIO(jpeg(n)))

    gc.collect()
    gc.disable()
    try:
        await asyncio.to_thread(put)
        left = [o for o in gc.get_objects() if isinstance(o, Inflow)]
    finally:
        gc.enable()
    assert len(await ftp.stored()) == 3 and not left
