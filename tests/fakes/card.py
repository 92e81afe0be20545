"""A disk that keeps what was synced, and of the rest whatever it likes: any blocks, any length, names up to any change.

It stands below the product, at the calls into the kernel: files are real, and what a power cut would leave of them is
known for every block at every call. Errors and the cut itself come at the calls that one asks for.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BLOCK = 4096
CALLS = ("open", "pwritev", "pwrite", "ftruncate", "rename", "replace", "unlink", "fsync", "fdatasync")


class PowerCut(BaseException):
    """Nothing after this call happens."""


def _block(data: bytes, at: int) -> bytes:
    return data[at : at + BLOCK].ljust(BLOCK, b"\0")


class _File:
    """Of each block and of the length: what may be on the disk."""

    def __init__(self, durable: bytes = b"") -> None:
        self.now = durable
        self.sizes = {len(durable)}
        self.blocks = [{_block(durable, at)} for at in range(0, len(durable), BLOCK)]
        self._dirty: set[int] = set()

    def become(self, data: bytes, written: range = range(0)) -> None:
        """Its bytes are these now; what was `written` is, whether it made a difference or not."""
        for n, at in enumerate(range(0, len(data), BLOCK)):
            if n == len(self.blocks):
                self.blocks.append({bytes(BLOCK)})
            if at in written or at >= len(self.now) or _block(self.now, at) != _block(data, at):
                self.blocks[n].add(_block(data, at))
                self._dirty.add(n)
        self.sizes.add(len(data))
        self.now = data

    def synced(self) -> None:
        """What was written since the last sync is there now; what an earlier one failed with stays in doubt."""
        for n in self._dirty:
            if n * BLOCK < len(self.now):
                self.blocks[n] = {_block(self.now, n * BLOCK)}
        self.sizes = {len(self.now)}
        self._dirty.clear()

    def failed(self) -> None:
        """Linux takes the blocks for clean after an error: no later sync writes them."""
        self._dirty.clear()

    def anew(self) -> None:
        """Who opens it next empties it first: no block that was in doubt is left."""
        self.blocks, self.sizes, self.now = [], {0}, b""

    def left(self, rng: random.Random) -> bytes:
        size = rng.choice(sorted(self.sizes))
        return b"".join(rng.choice(sorted(options)) for options in self.blocks).ljust(size, b"\0")[:size]


class Card:
    """Everything in one folder. `fail(call, error, nth)`: that call, from now on; `cut_at`: so many calls from now."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cut_at = -1
        self.renamed: list[str] = []
        self._names: dict[str, _File] = {}
        self._history: list[dict[str, _File]] = [{}]
        self._failing: dict[str, tuple[int, int]] = {}
        folder.mkdir()
        for call in CALLS:
            monkeypatch.setattr(os, call, self._watch(call, getattr(os, call)))

    def fail(self, call: str, error: int, nth: int) -> None:
        self._failing[call] = nth, error

    def well(self) -> None:
        self._failing.clear()

    def cut(self, rng: random.Random) -> None:
        """The power goes and comes back: the folder is what it left."""
        names = rng.choice(self._history)
        left = {name: file.left(rng) for name, file in sorted(names.items())}
        self.cut_at = -1
        self.renamed.clear()
        self.well()
        for path in list(self.folder.iterdir()):
            path.unlink()
        for name, data in left.items():
            (self.folder / name).write_bytes(data)
        self._names = {name: _File(data) for name, data in left.items()}
        self._history = [dict(self._names)]

    def _watch(self, call: str, sound: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **more: Any) -> Any:
            path = self._path(args[0])
            if path is None or (call == "open" and not args[1] & os.O_CREAT):
                return sound(*args, **more)
            self._touch(path)
            if call in self._failing and self._fails(call, path):
                raise OSError(error := self._failing.pop(call)[1], os.strerror(error))
            result = sound(*args, **more)
            self._happened(call, path, args, result)
            self.cut_at -= 1
            if self.cut_at == 0:
                if call == "open":
                    os.close(result)
                raise PowerCut
            return result

        return watched

    def _fails(self, call: str, path: Path) -> bool:
        nth, error = self._failing[call]
        self._failing[call] = nth - 1, error
        if nth:
            return False
        if call in ("fsync", "fdatasync") and path.name in self._names:
            file = self._names[path.name]
            file.anew() if path.suffix == ".tmp" else file.failed()
        return True

    def _path(self, what: Any) -> Path | None:
        """The file that a call is about, None when it is none of ours."""
        path = Path(os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what)
        return path if self.folder in (path, path.parent) and path.name != "lock" else None

    def _touch(self, path: Path, written: range = range(0)) -> None:
        if path.is_file():
            if path.name not in self._names:
                self._names[path.name] = _File()
                self._history.append(dict(self._names))
            self._names[path.name].become(path.read_bytes(), written)

    def _happened(self, call: str, path: Path, args: tuple[Any, ...], result: Any) -> None:
        if path == self.folder:
            self._history = [dict(self._names)]
        elif call in ("fsync", "fdatasync"):
            self._names[path.name].synced()
        elif call in ("rename", "replace", "unlink"):
            file = self._names.pop(path.name)
            if call == "rename":
                self.renamed.append(path.name)
            if call != "unlink":
                self._names[Path(args[1]).name] = file
            self._history.append(dict(self._names))
        elif call in ("pwrite", "pwritev"):
            self._touch(path, range(args[2], args[2] + result))
        else:
            self._touch(path)


ERRORS = (errno.EIO, errno.ENOSPC)
