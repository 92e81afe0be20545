"""What outlasts a power cut: small files, old or new and never torn, and the names in a folder."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace the file durably; raises OSError, and then the old one is still there."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def rewrite(path: Path, text: str) -> None:
    """Replace a file that is somebody's: whole or not at all, where a link to it leads, its owner and mode as before.

    Raises OSError, and then it is as it was.
    """
    target = path.resolve(strict=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with open(target, "r+b"):  # what may not be written is not replaced either
        pass
    try:
        with open(temporary, "x", encoding="utf-8", newline="", opener=_private) as f:
            was = target.stat()
            os.fchown(f.fileno(), was.st_uid, was.st_gid)
            shutil.copystat(target, temporary)
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(path: Path | str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
