"""Films for measuring: a street scene with fresh sensor noise in every picture, coded as cameras code (q80, 4:2:0)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from agent.sources import scene


def street(folder: Path, size: tuple[int, int], frames: int, *, walking: bool = True) -> Path:
    """`frames` JPEGs named 0000.jpg…, a walker passing all the time or nobody; about 55 kB each at 640×480.

    Shot and read noise of a small sensor: luma sigma about 2, growing with the light.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    width, height = size
    # Foliage and gravel: without texture the JPEGs would be a third of a real camera's.
    texture = cv2.resize(rng.normal(0, 14, (height // 2, width // 2, 1)).astype(np.float32), size)
    ground = scene.backdrop()
    noise = [rng.standard_normal((height, width), dtype=np.float32) for _ in range(4)]
    for i in range(frames):
        picture = ground.copy()
        if walking:
            share = (i % 60) / 59
            scene.walker(picture, -40 + share * (scene.WIDTH + 80), share * 18)
        big = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) + texture[..., None]
        grain = np.roll(noise[i % 4], (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
        big += (grain * np.sqrt(1.2 + 0.025 * np.clip(big[..., 1], 0, 255)))[..., None]
        data = cv2.imencode(".jpg", np.clip(big, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        (folder / f"{i:04d}.jpg").write_bytes(data.tobytes())
    return folder
