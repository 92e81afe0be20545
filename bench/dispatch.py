"""The dispatcher beside haproxy, nginx stream and sslh: CPU for bytes and connections, latency, memory, 13 cases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import MIB, cpu_s, memory

ROUNDS = 4
GB_A_ROUND = 1.0
CONNECTIONS_A_ROUND = 300
MANY = 10_000
IDLE = 2_000
BLOB = memoryview(os.urandom(1 << 20))
HAPROXY = """global
 nbthread 1
 maxconn 4000
defaults
 mode tcp
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 {options}
frontend f
 bind 127.0.0.1:{port}
 {rules}
 default_backend b
backend b
 server s 127.0.0.1:{back}
{more}"""
SPLICE = "option splice-request\n option splice-response"
NGINX = """load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/err;
events {{ worker_connections 4000; }}
stream {{ server {{ listen 127.0.0.1:{port} backlog=1024; proxy_pass 127.0.0.1:{back}; }} }}
"""
OURS = """listen: [{{port: {port}}}]
services:
  raw: {{type: relay, host: 127.0.0.1, port: {back}, http: tunnel}}
  web: {{type: relay, host: 127.0.0.1, port: {back}, http: close}}
routes:
  - {{path: /close, to: web}}
  - {{protocol: http, to: raw}}
limits: {{sniffing: 20000, sniffing_per_address: 20000, connections_per_address: 20000, sniff_deadline_s: 300}}
log: {{level: warning}}
"""


def backend(listener: socket.socket) -> None:
    """Answers `GET /N` and `GET /close/N` with N bytes, a thread for each connection."""

    def one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := sock.recv(4096)):
                    return
                head += data
            path = head.split(b" ")[1]
            left = int(path.rpartition(b"/")[2])
            if b"close" in path:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            while left > 0:
                left -= sock.send(BLOB[: min(left, len(BLOB))])
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def ask(port: int, path: str, size: int, buffer: bytearray) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(f"GET {path}{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = 0
        while count := sock.recv_into(buffer):
            got += count
            if got >= size and path == "/":
                break
        if got < size:
            raise SystemExit(f"short: {got} of {size}")


@dataclass
class Subject:
    """One proxy under measurement; `pid` None: no proxy at all."""

    name: str
    port: int
    pid: int | None = None
    path: str = "/"
    per_gb: list[float] = field(default_factory=list)
    per_connection_us: list[float] = field(default_factory=list)
    took_us: list[float] = field(default_factory=list)

    def cpu_s(self) -> float:
        return cpu_s(self.pid) if self.pid else 0.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def ours(config: str) -> list[str]:
    return [sys.executable, "-m", "agent.cli", "dispatch", "-c", config]


@contextlib.contextmanager
def started(command: list[str], port: int, folder: Path) -> Iterator[int]:
    with open(folder / f"{port}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} did not start: {(folder / f'{port}.log').read_text()[-300:]}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def subjects(back: int, folder: Path, stack: contextlib.ExitStack) -> list[Subject]:
    """Everything that is installed here, running."""
    out = [Subject("direct", back)]

    def add(name: str, text: str, command: Callable[[str], list[str]], **more: str) -> Subject:
        port = free_port()
        file = folder / name.replace(" ", "-")
        file.write_text(text.format(port=port, back=back, dir=folder, **more))
        one = Subject(name, port, stack.enter_context(started(command(str(file)), port, folder)))
        out.append(one)
        return one

    if haproxy := shutil.which("haproxy"):
        for name, options in (("haproxy tcp", "option tcpka"), ("haproxy splice", SPLICE)):
            add(name, HAPROXY, lambda f: [haproxy, "-db", "-f", f], options=options, rules="", more="")
    if (nginx := shutil.which("nginx")) and Path("/usr/lib/nginx/modules/ngx_stream_module.so").exists():
        add("nginx stream", NGINX, lambda f: [nginx, "-c", f])
    mine = add("ours", OURS, ours)
    out.append(Subject("ours, http close", mine.port, mine.pid, "/close/"))
    return out


def bulk(one: Subject, buffer: bytearray) -> None:
    before = one.cpu_s()
    ask(one.port, one.path, int(GB_A_ROUND * 1e9), buffer)
    time.sleep(0.05)
    one.per_gb.append((one.cpu_s() - before) / GB_A_ROUND)


def connections(one: Subject, count: int) -> None:
    buffer, before = bytearray(4096), one.cpu_s()
    for _ in range(count):
        start = time.perf_counter()
        ask(one.port, one.path, 200, buffer)
        one.took_us.append((time.perf_counter() - start) * 1e6)
    time.sleep(0.1)
    one.per_connection_us.append((one.cpu_s() - before) / count * 1e6)


def print_table(found: list[Subject]) -> None:
    direct = statistics.median(found[0].took_us)
    print(f"{'':18}{'CPU s/GB':>10}{'CPU us/conn':>13}{'p50 us':>9}{'added':>8}{'RSS MiB':>9}")
    for one in found:
        p50 = statistics.median(one.took_us)
        numbers = f"{p50:9.0f}{p50 - direct:8.0f}"
        if one.pid:
            gb, per = statistics.median(one.per_gb), statistics.median(one.per_connection_us)
            print(f"{one.name:18}{gb:10.3f}{per:13.0f}{numbers}{memory(one.pid).rss_mib:9.1f}")
        else:
            print(f"{one.name:18}{'':23}{numbers}")
    by = {one.name: one for one in found}
    for peer, goal in (("haproxy tcp", 0.75), ("haproxy splice", 1.2)):
        if peer in by:
            ratios = [a / b for a, b in zip(by["ours"].per_gb, by[peer].per_gb, strict=True)]
            print(f"bytes: {statistics.median(ratios):.2f}x {peer} (goal {goal}x)")
    if "haproxy tcp" in by:
        pairs = zip(by["ours"].per_connection_us, by["haproxy tcp"].per_connection_us, strict=True)
        print(f"connections: {statistics.median(a / b for a, b in pairs):.2f}x haproxy tcp (goal 3.0x)")
    print(f"added p50: {(statistics.median(by['ours'].took_us) - direct) / 1000:.2f} ms (goal 0.5 ms)")


def memory_figures(back: int, folder: Path) -> None:
    """Of two fresh processes: the cost of idle connections must not hide in memory that others left free."""
    for work in (_many, _idle):
        port = free_port()
        file = folder / work.__name__
        file.write_text(OURS.format(port=port, back=back))
        with started(ours(str(file)), port, folder) as pid:
            work(port, pid)


def _many(port: int, pid: int) -> None:
    before = memory(pid).rss_mib
    for _ in range(MANY // 100):
        burst = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        for sock in burst:
            sock.sendall(b"GET /20 HTTP/1.1\r\nHost: x\r\n\r\n")
        for sock in burst:
            sock.recv(100)
            sock.close()
    time.sleep(0.5)
    after = memory(pid).rss_mib * MIB / 1e6
    print(f"RSS after {MANY} connections: {after:.1f} MB (goal 40), {before * MIB / 1e6:.1f} before")


def _idle(port: int, pid: int) -> None:
    before = memory(pid).rss_mib
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
    for sock in idle[::2]:
        sock.send(b"GET /x HT")
    time.sleep(1.5)
    print(f"idle sniffed connection: {(memory(pid).rss_mib - before) * 1024 / IDLE:.2f} KiB (goal 3)")
    for sock in idle:
        sock.close()


def cases_table(folder: Path) -> None:
    """What thirteen clients hear through each; `!` marks what is wrong."""
    from tests.dispatch import cases

    async def run() -> None:
        ports, greeting = [], await asyncio.start_server(cases.greeter, "127.0.0.1", 0)
        for name in "AB":
            ports.append(await asyncio.start_server(cases.http(name), "127.0.0.1", 0))
        a, b, ftp = (s.sockets[0].getsockname()[1] for s in (*ports, greeting))
        with contextlib.ExitStack() as stack:
            columns = dict(_case_subjects(a, b, ftp, folder, stack))
            print(f"\n{'':34}" + "".join(f"{name:>22}" for name in columns))
            for name, (case, right) in cases.CASES.items():
                row = []
                for port in columns.values():
                    heard = cases.heard(await case(port, 1.0))
                    row.append(heard + ("" if heard in right else " !"))
                print(f"{name:34}" + "".join(f"{cell:>22}" for cell in row), flush=True)
        for server in (*ports, greeting):
            server.close()

    asyncio.run(run())


def _case_subjects(a: int, b: int, ftp: int, folder: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, int]]:
    port = free_port()
    file = folder / "cases"
    kind = "type: relay, host: 127.0.0.1"
    services = f"  a: {{{kind}, port: {a}, http: framed}}\n  b: {{{kind}, port: {b}, http: framed}}\n"
    services += f"  f: {{{kind}, port: {ftp}}}\n"
    routes = "  - {path: /a, to: a}\n  - {path: /b, to: b}\n  - {protocol: silence, to: f}\n"
    more = "limits: {drain_s: 1}\nlog: {level: warning}\n"
    file.write_text(f"listen: [{{port: {port}}}]\nservices:\n{services}routes:\n{routes}{more}")
    stack.enter_context(started(ours(str(file)), port, folder))
    yield "ours", port
    if haproxy := shutil.which("haproxy"):
        port = free_port()
        rules = "tcp-request inspect-delay 1s\n tcp-request content accept if HTTP\n"
        rules += " use_backend a if { path_beg /a }\n use_backend c if { path_beg /b }"
        more = f"backend a\n server s 127.0.0.1:{a}\nbackend c\n server s 127.0.0.1:{b}\n"
        file = folder / "cases-haproxy"
        file.write_text(HAPROXY.format(port=port, back=ftp, options="option tcpka", rules=rules, more=more))
        stack.enter_context(started([haproxy, "-db", "-f", str(file)], port, folder))
        yield "haproxy", port
    if sslh := shutil.which("sslh-select"):
        port = free_port()
        file = folder / "cases-sslh"
        file.write_text(
            f'foreground: true; timeout: 1; on-timeout: "timeout";\n'
            f'listen: ( {{ host: "127.0.0.1"; port: "{port}"; }} );\n'
            f'protocols: ( {{ name: "regex"; host: "127.0.0.1"; port: "{b}"; regex_patterns: ["^[A-Z]+ /b"]; }},\n'
            f' {{ name: "http"; host: "127.0.0.1"; port: "{a}"; }},\n'
            f' {{ name: "timeout"; host: "127.0.0.1"; port: "{ftp}"; }} );\n'
        )
        stack.enter_context(started([sslh, "-f", f"-F{file}"], port, folder))
        yield "sslh", port


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=backend, args=(listener,), daemon=True).start()
    buffer = bytearray(1 << 20)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o777)
        found = subjects(listener.getsockname()[1], folder, stack)
        missing = {"haproxy", "nginx", "sslh-select"} - {
            n for n in ("haproxy", "nginx", "sslh-select") if shutil.which(n)
        }
        if missing:
            print(f"not installed here, so not compared: {', '.join(sorted(missing))}")
        for one in found:
            connections(one, 20)
            one.took_us.clear()
            one.per_connection_us.clear()
        for _ in range(ROUNDS):
            for one in found:
                if one.pid:
                    bulk(one, buffer)
                connections(one, CONNECTIONS_A_ROUND)
        print_table(found)
        memory_figures(listener.getsockname()[1], folder)
        cases_table(folder)
