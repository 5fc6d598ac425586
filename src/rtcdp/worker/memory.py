"""What a takeover needed for a moment goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back() -> None:
    """Collect what refers to itself, and return free memory to the system where the C library can (glibc; elsewhere not).

    Restores run in threads of their own, with fetches of megabytes; glibc keeps what each of them has freed in that thread's
    arena, and the next takeover has other threads. Takes milliseconds, some of them under the interpreter's lock.
    """
    gc.collect()
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
