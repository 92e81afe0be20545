"""HTTP upload to a camera server (docs/protocol.md): an idempotent PUT an item, big ones in parts."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from agent.errors import AgentError, GoneError, PermanentError, TransientError
from agent.frame import Item
from agent.sinks import Feed, told
from agent.sinks.body import BytesBody
from agent.sinks.drain import Drain
from agent.sinks.httpline import Answer, HttpLine
from agent.sinks.secret import bare, check_pin, check_scheme, label_of, pin_of, token_of

log = logging.getLogger(__name__)

IDLE_S = 30.0
PART_BYTES = 1024 * 1024
SMALLEST_PART_BYTES = 64 * 1024
ROUNDS = 8  # of finding out where to go on, without progress in between


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSink:
    """Uploads to a camera server. `url` is `http://host:port` or `https://…`; `token` as `virtual add` printed it.

    `{camera}` in `token_file` is the camera's name: each has a token of its own.
    `ca_file`: the certificates to trust instead of the system's; of a server that nobody certifies, the address may end
    with its key (`#sha256//…`, as `virtual add` prints it).
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        check_scheme(self.url, "http", "https")
        check_pin(self.url)

    @property
    def label(self) -> str:
        return label_of(self.url)

    async def run(self, feed: Feed) -> None:
        token = token_of(self.label, self.token, self.token_file, self.url, feed.camera)
        root = f"{bare(self.url)}/v1/cam/{quote(feed.camera)}"
        headers = {"Authorization": f"Bearer {token}"}
        async with HttpLine(self.label, headers, self.ca_file, pin_of(self.url)) as line, Drain(feed.outbox) as drain:
            await _Upload(line, feed, drain, self.label, root).run()


class _Upload:
    """One run: ask what is there, then an item after the other."""

    def __init__(self, line: HttpLine, feed: Feed, drain: Drain, label: str, root: str) -> None:
        self._line = line
        self._feed = feed
        self._label = label
        self._root = root
        self._drain = drain
        self._part_bytes = PART_BYTES
        self._asked = False

    async def run(self) -> None:
        await self._ask_acks()
        self._feed.up()
        while True:
            await self._declare()
            item = await self._drain.take(IDLE_S)
            if item is None:
                await self._ask_acks()  # so that a revoked token is noticed, and the server sees us
            elif len(item.payload) <= self._part_bytes:
                await self._put(item)
            else:
                await self._put_parts(item)

    async def _ask_acks(self) -> None:
        answer = await self._line.ask("GET", f"{self._root}/ack?spool={self._feed.outbox.spool}")
        ack, have = self._there(answer)
        if self._asked:
            self._feed.outbox.ack(ack, have)
        else:
            self._feed.outbox.resume(ack, have, told.camera_id(_json(answer)))
        self._asked = True

    async def _declare(self) -> None:
        for first, last, why in self._drain.losses():
            body = {"spool": self._feed.outbox.spool, "first": first, "last": last, "why": why}
            kind = {"Content-Type": "application/json"}
            answer = await self._line.ask("POST", f"{self._root}/dropped", kind, BytesBody(json.dumps(body).encode()))
            self._feed.outbox.ack(*self._there(answer))

    def _there(self, answer: Answer) -> tuple[int, list[tuple[int, int]]]:
        """What the answer says that the server has."""
        if answer.status == 404:
            raise PermanentError(f"{self._label}: the server has no camera '{self._feed.camera}' for this token (404)")
        if answer.status != 200:
            raise self._failed(answer)
        ack, have = told.ranges(_json(answer))
        if ack is None:
            raise PermanentError(f"{self._label}: that is no camera server (its answer names no 'ack')")
        return ack, have

    async def _put(self, item: Item) -> None:
        answer = await self._line.ask("PUT", self._url(item), _head(item), BytesBody(item.payload))
        if answer.status == 413 and len(item.payload) > SMALLEST_PART_BYTES:
            self._shrink(len(item.payload))
            await self._put_parts(item)
        else:
            self._settle(item, answer)

    async def _put_parts(self, item: Item) -> None:
        at = await self._offset(item)
        rounds = ROUNDS
        while at is not None and rounds:
            end = min(at + self._part_bytes, len(item.payload))
            answer = await self._patch(item, at, end)
            expected = _json(answer).get("expected-offset") if answer.status == 409 else None
            if answer.status == 204:
                at, rounds = end, ROUNDS
            elif isinstance(expected, int) and 0 <= expected <= len(item.payload):
                at, rounds = expected, rounds - 1
            elif answer.status == 413 and end - at > SMALLEST_PART_BYTES:
                self._shrink(end - at)
            else:
                self._settle(item, answer)
                return
        if at is not None:
            raise TransientError(f"{self._label}: the server does not say where item {item.seq} goes on")

    async def _offset(self, item: Item) -> int | None:
        """How much of the item is there; None when it is settled."""
        answer = await self._line.ask("HEAD", self._url(item))
        if answer.status == 404:
            return 0
        if answer.status != 200:
            raise self._failed(answer)
        if answer.headers.get("Upload-Complete") != "?1":
            offset = answer.headers.get("Upload-Offset", "")
            return min(int(offset), len(item.payload)) if offset.isdigit() else 0
        same = answer.headers.get("Repr-Digest") == _digest(item)
        self._settle(item, Answer(200 if same else 409, {}, b""))
        return None

    async def _patch(self, item: Item, at: int, end: int) -> Answer:
        whole = len(item.payload)
        headers = {
            **_head(item),
            "Content-Type": "application/partial-upload",
            "Upload-Length": str(whole),
            "Upload-Offset": str(at),
            "Upload-Complete": "?1" if end == whole else "?0",
        }
        return await self._line.ask("PATCH", self._url(item), headers, BytesBody(memoryview(item.payload)[at:end]))

    def _shrink(self, refused: int) -> None:
        """Parts of this size do not pass: try half."""
        self._part_bytes = max(SMALLEST_PART_BYTES, min(refused, self._part_bytes) // 2)
        log.info("%s: too big for the way there (413); parts of %d KiB now", self._label, self._part_bytes // 1024)

    def _settle(self, item: Item, answer: Answer) -> None:
        """The item is stored, or will never be taken; raises for everything else."""
        code = str(_json(answer).get("code", ""))[:20]
        if answer.status in (200, 201):
            self._drain.done(item)
        elif answer.status == 400 and code == "digest" and Item.digest(item.payload) == item.sha256:
            raise TransientError(f"{self._label}: item {item.seq} was damaged on the way")
        elif answer.status in (400, 409, 411, 413, 415):
            log.error("%s: item %d is refused (%d %s) and given up", self._label, item.seq, answer.status, code)
            self._drain.refuse(item, "conflict" if answer.status == 409 else code or "refused")
        else:
            raise self._failed(answer)

    def _failed(self, answer: Answer) -> AgentError:
        if answer.status == 410:
            return GoneError(f"{self._label}: the server says that this camera was deleted or has ended (410)")
        return self._line.failed(answer)

    def _url(self, item: Item) -> str:
        return f"{self._root}/item/{item.spool}-{item.seq}"


def _head(item: Item) -> dict[str, str]:
    return {
        "Content-Type": item.type.media_type,
        "Repr-Digest": _digest(item),
        "Item-Type": item.type.name.lower(),
        "Item-Event": str(item.event),
        "Item-Wall-Ns": str(item.wall_ns),
    }


def _digest(item: Item) -> str:
    return f"sha-256=:{base64.b64encode(item.sha256).decode()}:"


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
