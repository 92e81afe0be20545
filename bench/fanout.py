"""One camera, 200 viewers: the server's CPU for each picture and viewer beside a bare socket.send loop; a stuck one."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.measure import cpu_s, memory

VIEWERS, FPS, BYTES, SECONDS, ROUNDS = 200, 10.0, 60_000, 5.0, 3
NAMES = {
    "bare": "bare socket.send loop",
    "mjpeg": "live.mjpeg",
    "ws": "live.ws (a JPEG a message)",
    "live": "the page's live view (credits)",
}
ROLE = "from bench import fanout; fanout.role(*__import__('sys').argv[1:])"
STAMP = b"\xff\xd8\xff\xfe\x00\x0aSTMP"  # in front of the time, in each picture
AT_ONCE = 16
CREDITS, CREDIT = (b'{"t":"live","n":%d}' % n for n in (2 * AT_ONCE, AT_ONCE))
MESSAGE_BYTES = BYTES + 50  # a live message with its head and the WebSocket's
PHASES = 6


def main() -> None:
    print(f"{VIEWERS} viewers of a {BYTES // 1000} kB picture, {FPS:g} a second, over loopback; CPU: best of {ROUNDS}")
    rounds = [{kind: measure(kind) for kind in NAMES} for _ in range(ROUNDS)]
    best = {kind: min(r[kind]["cpu"] for r in rounds) for kind in NAMES}
    for kind, name in NAMES.items():
        last = rounds[-1][kind]
        print(
            f"{name:32} {best[kind] * 1e6:6.1f} us a picture and viewer ({best[kind] / best['bare']:4.2f}x)"
            f"   delay p50 {last['p50'] * 1e3:5.1f} p95 {last['p95'] * 1e3:5.1f} ms"
            f"   {last['rate']:5.1f} pictures a second   {last['rss']:5.0f} MiB",
            flush=True,
        )
    for kind in ("mjpeg", "ws", "live"):
        ratios, growth = stuck(kind)
        print(
            f"{kind + ', one viewer stuck':32} delay p95 of the others {median(ratios):4.2f}x"
            f" ({min(ratios):4.2f} to {max(ratios):4.2f}), memory {growth:+5.2f} MiB at most",
            flush=True,
        )


def measure(kind: str) -> dict[str, float]:
    """CPU seconds a picture and viewer, delays in seconds, pictures a second and viewer, resident MiB."""
    with _viewed(kind, 1) as (server, lines):
        cpu, begin = cpu_s(server.pid), time.monotonic()
        pictures, p50, p95, seconds = (float(x) for x in lines.readline().split())
        cpu, took = cpu_s(server.pid) - cpu, time.monotonic() - begin
        rate = pictures / seconds / VIEWERS
        rss = memory(server.pid).anonymous_mib
        return {"cpu": cpu / (rate * took * VIEWERS), "p50": p50, "p95": p95, "rate": rate, "rss": rss}


def stuck(kind: str) -> tuple[list[float], float]:
    """One more viewer that never reads comes and goes, five seconds each: by what the others' p95 changes from the
    seconds without it just before to those with it, and by how many MiB the server grows."""
    with _viewed(kind, 2 * PHASES) as (server, lines):
        p95, rss = [], []
        for _ in range(2 * PHASES):
            p95.append(float(lines.readline().split()[2]))
            rss.append(memory(server.pid).anonymous_mib)
    pairs = range(0, 2 * PHASES, 2)
    return [p95[n + 1] / p95[n] for n in pairs], max(rss[n + 1] - rss[n] for n in pairs)


@contextlib.contextmanager
def _viewed(kind: str, phases: int):  # type: ignore[no-untyped-def]
    """A server and its viewers; of these a line for each phase."""
    with tempfile.TemporaryDirectory() as folder, _started("serve", kind, folder) as server:
        port, cookie = server.stdout.readline().split(maxsplit=1)
        with _started("view", kind, port, cookie.strip(), str(phases)) as viewers:
            viewers.stdout.readline()
            yield server, viewers.stdout


@contextlib.contextmanager
def _started(*args: str):  # type: ignore[no-untyped-def]
    with subprocess.Popen([sys.executable, "-c", ROLE, *args], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def role(what: str, *args: str) -> None:
    """A process of the bench: the server, or all viewers."""
    if what == "view":
        view(args[0], int(args[1]), args[2], int(args[3]))
    elif args[0] == "bare":
        bare()
    else:
        asyncio.run(serve(Path(args[1])))


def picture() -> bytes:
    """60 kB with the time in a comment; nobody on the way decodes it."""
    return STAMP + struct.pack(">d", time.time())[2:] + bytes(BYTES - 18) + b"\xff\xd9"


def bare() -> None:
    """The floor: every picture written to every socket that takes it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], "-", flush=True)
    clients = []
    for _ in range(VIEWERS):
        client, _ = listening.accept()
        client.setblocking(False)
        clients.append(client)
    due = time.monotonic()
    while True:
        due += 1 / FPS
        time.sleep(max(0.0, due - time.monotonic()))
        data = picture()
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                client.send(data)


async def serve(folder: Path) -> None:
    import aiohttp

    from agent.frame import Codec, Frame
    from agent.server.app import CameraServer, ServerSettings

    server = CameraServer(ServerSettings(port=0, store=str(folder)), notes={}, durable=False)
    await server.start()
    await server.issue_keys("porch")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        await http.get(server.urls()[0].rstrip("/") + server.join_link())
        [cookie] = list(http.cookie_jar)
    print(server.port, f"{cookie.key}={cookie.value}", flush=True)
    camera = server._cameras.get("porch")
    assert camera is not None
    camera.sessions, n, due = 1, 0, time.monotonic()
    while True:
        due += 1 / FPS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        camera.publish(Frame(Codec.JPEG, picture(), True, time.monotonic_ns(), time.time_ns(), n))
        n += 1


def view(kind: str, port: int, cookie: str, phases: int) -> None:
    """All viewers in one process: they read and forget. In each second phase there is one that does not read."""
    viewers = Viewers(kind, port, cookie)
    viewers.look(2)
    print("ready", flush=True)
    for n in range(phases):
        stuck = _viewer(kind, port, cookie) if n % 2 else None
        viewers.pong()
        viewers.look(0.5)
        total, delays = viewers.look(SECONDS)
        delays.sort()
        p50, p95 = (delays[int(len(delays) * share)] if delays else 0.0 for share in (0.5, 0.95))
        print(total / BYTES, p50, p95, SECONDS, flush=True)
        if stuck is not None:
            stuck.close()
    time.sleep(60)


class Viewers:
    """VIEWERS connections; those of the live view give their credits as the page does: some at a time."""

    def __init__(self, kind: str, port: int, cookie: str) -> None:
        self._poll = select.epoll()
        self._scratch = bytearray(1 << 18)
        self._live, self._pongs = kind == "live", kind in ("live", "ws")
        self._sockets: dict[int, socket.socket] = {}
        self._owed: dict[int, int] = {}
        for _ in range(VIEWERS):
            sock = _viewer(kind, port, cookie)
            sock.setblocking(False)
            self._poll.register(sock.fileno(), select.EPOLLIN)
            self._sockets[sock.fileno()] = sock
            self._owed[sock.fileno()] = 0

    def pong(self) -> None:
        """What a WebSocket's server wants to hear each twenty seconds."""
        if self._pongs:
            for sock in self._sockets.values():
                sock.send(b"\x8a\x80" + bytes(4))

    def look(self, seconds: float) -> tuple[int, list[float]]:
        """Bytes that came, and the delay of each picture from its stamp to the read that brings it."""
        total, delays, end = 0, list[float](), time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in self._poll.poll(0.05):
                try:
                    count = self._sockets[fd].recv_into(self._scratch)
                except BlockingIOError:
                    continue
                total += count
                self._owed[fd] += count
                if self._live and self._owed[fd] >= AT_ONCE * MESSAGE_BYTES:
                    self._owed[fd] -= AT_ONCE * MESSAGE_BYTES
                    self._sockets[fd].send(_text(CREDIT))
                at = self._scratch.find(STAMP, 0, min(count, 400))
                if at >= 0 and count >= at + 18:
                    # The upper bytes of the double are those of now: they change once in weeks.
                    head = struct.pack(">d", time.time())[:2]
                    delays.append(time.time() - struct.unpack(">d", head + bytes(self._scratch[at + 10 : at + 16]))[0])
        return total, delays


def _viewer(kind: str, port: int, cookie: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(_request(kind, cookie))
    if kind == "live":
        sock.sendall(_text(CREDITS))
    return sock


def _text(body: bytes) -> bytes:
    """A masked text of a WebSocket."""
    return b"\x81" + bytes((128 + len(body),)) + bytes(4) + body


def _request(kind: str, cookie: str) -> bytes:
    if kind == "bare":
        return b""
    path = {"mjpeg": "live.mjpeg", "ws": "live.ws", "live": "live"}[kind]
    head = f"GET /api/v1/cameras/porch/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
    if kind != "mjpeg":
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return f"{head}\r\n".encode()
