"""A Pi's own cameras, as libcamera counts them; asked in a process of its own, which may hang and is then ended."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys

from agent.discover import Found

# The order is that of picamera2: by id, reversed.
_ASK = """
import json, libcamera
found = [c for c in libcamera.CameraManager.singleton().cameras if "/usb" not in c.id]
names = [{str(k.name): str(v) for k, v in c.properties.items()}.get("Model", "camera") for c in found]
print(json.dumps(sorted(zip([c.id for c in found], names), reverse=True)))
"""


async def find(limit_s: float) -> list[Found]:
    """Nothing where there is no libcamera, or it does not answer in time."""
    return await asyncio.to_thread(attached, limit_s)


def attached(limit_s: float) -> list[Found]:
    """The same, blocking for at most `limit_s`."""
    if importlib.util.find_spec("libcamera") is None:
        return []
    try:
        done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, timeout=limit_s, check=False)
        cameras = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        return []
    return [
        Found("libcamera", model, id_, f"camera {i}", f"{{type: picamera, camera: {i}}}")
        for i, (id_, model) in enumerate(cameras)
    ]
