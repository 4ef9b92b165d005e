"""Memory given back to the system: glibc otherwise keeps, in each of many threads, what its largest request took."""

import ctypes
import sys
from functools import lru_cache

M_ARENA_MAX = -8  # from malloc.h
ARENAS = 2  # heaps that all threads share: one for each group of requests


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def share_arenas() -> bool:
    """Let all threads share `ARENAS` heaps, like the environment variable MALLOC_ARENA_MAX; whether that worked.

    To be called before threads start: existing heaps stay.
    """
    return _libc() is not None and _libc().mallopt(M_ARENA_MAX, ARENAS) == 1


def give_back() -> bool:
    """Return the free pages of all heaps to the system, a few milliseconds; whether there were any."""
    return _libc() is not None and _libc().malloc_trim(0) == 1
