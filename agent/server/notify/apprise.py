"""SMS, chats and more by the apprise package, in a process of its own: its URLs hold secrets, so they go by stdin."""

from __future__ import annotations

import asyncio
import json
import sys

from agent.errors import TransientError, extra
from agent.server.notify import Note

TIMEOUT_S = 60.0
MISSING = 3
CHILD = """
import json, sys
try:
    import apprise
except ImportError:
    sys.exit(3)
what = json.load(sys.stdin)
box = apprise.Apprise()
for url in what["urls"]:
    box.add(url)
sys.exit(0 if box.notify(title=what["title"], body=what["text"]) else 1)
"""


class Apprise:
    """`urls`: one a line."""

    def __init__(self, urls: str) -> None:
        self._urls = [line.strip() for line in urls.splitlines() if line.strip() and not line.startswith("#")]

    @property
    def label(self) -> str:
        return f"apprise, {len(self._urls)} services"

    async def send(self, note: Note) -> None:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        what = json.dumps({"urls": self._urls, "title": note.title, "text": note.text}).encode()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await child.communicate(what)
        except (TimeoutError, OSError):
            raise TransientError("took too long") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            missing = child.returncode == MISSING
            raise TransientError(f"apprise is not installed ({extra('notify')})" if missing else "failed")
