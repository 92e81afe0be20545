"""Sending an item over the WebSocket beside a keep-alive PUT: the sender's CPU an item of 60 kB."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import time

import aiohttp
from aiohttp import WSMsgType, web

from agent.frame import ItemType, Worth
from agent.hub import Hub
from agent.media import wire
from agent.outbox import MemoryOutbox
from agent.sinks import Feed
from agent.sinks.websocket import WebSocketSink

SIZE, COUNT, ROUNDS = 60_000, 600, 5


async def other_end() -> None:
    """Takes everything and answers at once; stores nothing."""

    async def put(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"ack": 1, "dup": False}, status=201)

    async def stream(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=(wire.SUBPROTOCOL,), compress=False, max_msg_size=1 << 20)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                spool = json.loads(message.data).get("spool")
                await ws.send_json({"t": "welcome", "ack": 0, "have": [], "window": 4 << 20, "now_ns": time.time_ns()})
            elif message.type is WSMsgType.BINARY:
                part = wire.unpack(message.data)
                assert isinstance(part, wire.PartMessage)
                if part.offset + len(part.data) == part.total and not part.seq % 8:
                    await ws.send_json({"t": "ack", "spool": spool, "ack": part.seq, "have": []})
        return ws

    app = web.Application(client_max_size=1 << 24)
    app.router.add_put("/v1/cam/c/item/{name}", put)
    app.router.add_get("/v1/cam/c/stream", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def by_websocket(port: int) -> float:
    outbox = MemoryOutbox("c", 1 << 30)
    for i in range(COUNT):
        outbox.put(ItemType.CLIP, 1, i, os.urandom(SIZE), Worth.HEAD)
    up = asyncio.Event()
    sink = WebSocketSink(url=f"ws://127.0.0.1:{port}", token="t")
    cpu = time.process_time()
    task = asyncio.create_task(sink.run(Feed("c", outbox, Hub(), up.set)))
    async with asyncio.timeout(60):
        await outbox.drained()
    cpu = time.process_time() - cpu
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return cpu / COUNT


async def by_put(port: int) -> float:
    payloads = [os.urandom(SIZE) for _ in range(COUNT)]
    digests = [base64.b64encode(hashlib.sha256(p).digest()).decode() for p in payloads]
    async with aiohttp.ClientSession() as http:
        cpu = time.process_time()
        for i, payload in enumerate(payloads):
            headers = {"Repr-Digest": f"sha-256=:{digests[i]}:", "Authorization": "Bearer t", "Item-Type": "clip"}
            url = f"http://127.0.0.1:{port}/v1/cam/c/item/0123456789abcdef-{i + 1}"
            async with http.put(url, data=payload, headers=headers) as answer:
                await answer.read()
        return (time.process_time() - cpu) / COUNT


async def _measure(port: int) -> None:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(await by_websocket(port))
        theirs.append(await by_put(port))
    a, b = sorted(ours)[ROUNDS // 2], sorted(theirs)[ROUNDS // 2]
    print(f"WebSocket {a * 1e6:.0f} µs, keep-alive PUT {b * 1e6:.0f} µs an item: {a / b:.2f} of the PUT's")


def main() -> None:
    code = "import asyncio, bench.uplink as b; asyncio.run(b.other_end())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            asyncio.run(_measure(int(process.stdout.readline())))
        finally:
            process.kill()
