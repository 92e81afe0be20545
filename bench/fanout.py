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
CREDIT = b'{"t":"live","n":4}'


def main() -> None:
    print(f"{VIEWERS} viewers of a {BYTES // 1000} kB picture, {FPS:g} a second, over loopback; CPU: best of {ROUNDS}")
    rounds = [{kind: measure(kind, 0) for kind in NAMES} for _ in range(ROUNDS)]
    best = {kind: min(r[kind]["cpu"] for r in rounds) for kind in NAMES}
    for kind, name in NAMES.items():
        last = rounds[-1][kind]
        print(
            f"{name:32} {best[kind] * 1e6:6.1f} us a picture and viewer ({best[kind] / best['bare']:4.2f}x)"
            f"   delay p50 {last['p50'] * 1e3:5.1f} p95 {last['p95'] * 1e3:5.1f} ms"
            f"   {last['rate']:5.1f} pictures a second   {last['rss']:5.0f} MiB",
            flush=True,
        )
    for kind in ("mjpeg", "ws"):
        calm, stuck = measure(kind, 0), measure(kind, 1)
        print(
            f"{kind + ', one viewer stuck':32} delay p95 of the others {stuck['p95'] / calm['p95']:4.2f}x,"
            f" memory {stuck['rss'] - calm['rss']:+5.2f} MiB",
            flush=True,
        )


def measure(kind: str, stuck: int) -> dict[str, float]:
    """CPU seconds a picture and viewer, delays in seconds, pictures a second and viewer, resident MiB."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(_started("serve", kind, folder))
        assert server.stdout is not None
        port, cookie = server.stdout.readline().split(maxsplit=1)
        viewers = stack.enter_context(_started("view", kind, port, cookie.strip(), str(stuck)))
        assert viewers.stdout is not None
        viewers.stdout.readline()
        time.sleep(2)
        cpu, begin = cpu_s(server.pid), time.monotonic()
        time.sleep(SECONDS)
        cpu, took = cpu_s(server.pid) - cpu, time.monotonic() - begin
        rss = memory(server.pid).anonymous_mib
        pictures, p50, p95, seconds = (float(x) for x in viewers.stdout.readline().split())
        rate = pictures / seconds / VIEWERS
        return {"cpu": cpu / (rate * took * VIEWERS), "p50": p50, "p95": p95, "rate": rate, "rss": rss}


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


def view(kind: str, port: int, cookie: str, stuck: int) -> None:
    """All viewers in one process: reads and forgets; a delay is from the stamp to the read that brings it."""
    poll, sockets = select.epoll(), {}
    for n in range(VIEWERS + stuck):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(_request(kind, cookie))
        if n < VIEWERS:
            sock.setblocking(False)
            poll.register(sock.fileno(), select.EPOLLIN)
        sockets[sock.fileno()] = sock
    print("ready", flush=True)
    scratch = bytearray(1 << 18)
    delays: list[float] = []
    total, begin, end = 0, time.monotonic() + 2, time.monotonic() + 2 + SECONDS
    credit = time.monotonic()
    while (now := time.monotonic()) < end:
        if kind == "live" and now >= credit:
            credit += 1 / FPS
            for sock in sockets.values():
                sock.send(b"\x81" + bytes((128 + len(CREDIT),)) + bytes(4) + CREDIT)
        for fd, _ in poll.poll(0.05):
            try:
                count = sockets[fd].recv_into(scratch)
            except BlockingIOError:
                continue
            if now < begin:
                continue
            total += count
            at = scratch.find(STAMP, 0, min(count, 400))
            if at >= 0 and count >= at + 18:
                # The upper bytes of the double are those of now: they change once in weeks.
                head = struct.pack(">d", time.time())[:2]
                delays.append(time.time() - struct.unpack(">d", head + bytes(scratch[at + 10 : at + 16]))[0])
    delays.sort()
    p50, p95 = (delays[int(len(delays) * share)] if delays else 0.0 for share in (0.5, 0.95))
    print(total / BYTES, p50, p95, end - begin, flush=True)
    time.sleep(60)


def _request(kind: str, cookie: str) -> bytes:
    if kind == "bare":
        return b""
    path = {"mjpeg": "live.mjpeg", "ws": "live.ws", "live": "live"}[kind]
    head = f"GET /api/v1/cameras/porch/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
    if kind != "mjpeg":
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return f"{head}\r\n".encode()
