"""Packed times: ascending, six bytes each, so that a whole window is one object, written and read as it is."""

from __future__ import annotations


def pack(at: int) -> bytes:
    """A time (ms) as six bytes whose order is the order of the times. Before 1970 counts as 1970."""
    return at.to_bytes(6, "big") if at > 0 else b"\0\0\0\0\0\0"


def packed_up_to(times: bytes, edge: int) -> int:
    """How many packed times are at or before `edge`."""
    if edge < 0 or not times:
        return 0
    limit = edge.to_bytes(6, "big")
    if times[:6] > limit:
        return 0
    low, high = 1, len(times) // 6
    while low < high:
        middle = (low + high) // 2
        if times[middle * 6 : middle * 6 + 6] <= limit:
            low = middle + 1
        else:
            high = middle
    return low


def packed_insert(times: bytes, at: int) -> bytes:
    """One time more."""
    packed = pack(at)
    if times[-6:] <= packed:
        return times + packed
    place = packed_up_to(times, at) * 6
    return times[:place] + packed + times[place:]


def packed_at(times: bytes, place: int) -> int:
    """The time at `place`."""
    return int.from_bytes(times[place * 6 : place * 6 + 6], "big")


def packed(times: bytes) -> list[bytes]:
    """Each of them, packed."""
    return [times[place : place + 6] for place in range(0, len(times), 6)]


def united(one: bytes, other: bytes) -> bytes:
    """All times of both."""
    return b"".join(sorted(packed(one) + packed(other)))
