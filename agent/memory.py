"""Keeps the process small, where its C library is glibc; elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import gc
import mimetypes

M_ARENA_MAX = -8
"""malloc.h: how many heaps threads may have between them."""


def one_heap() -> None:
    """To be called before threads start: each would begin a heap of its own, and few of them need much."""
    _call("mallopt", M_ARENA_MAX, 1)


def no_types_of_files() -> None:
    """To be called before aiohttp is imported: it reads all the types that the system knows, a thousand, for nobody."""
    mimetypes.init(())


def give_back() -> None:
    """What starting up needed and nobody does any more: configuration, import machinery, certificates."""
    from agent.trust import forget_certificates

    forget_certificates()
    gc.collect()
    trim()


def trim() -> None:
    """What pictures and clips left free in the middle of the heap. Who needs it again pays for each page of it."""
    _call("malloc_trim", 0)


def _call(name: str, *args: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return
    function(*args)
