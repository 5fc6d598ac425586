"""Bodies stay within their limits, whatever they promise."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator

import pytest

from rtcdp.serving.collector.bodies import Body, Budget
from rtcdp.serving.collector.rates import Rates
from rtcdp.serving.collector.refusals import Refusal

LIMIT, UNPACKED = 100_000, 1_000_000


def read(chunks: Iterable[bytes], *, packed: bool = False, budget: Budget | None = None, ends: bool = True) -> bytes:
    """Read a body that comes in these chunks. ends: whether its end comes too, else the client goes."""
    messages: Iterator[dict[str, object]] = iter(
        [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        + [{"type": "http.request"} if ends else {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, object]:
        return next(messages)

    async def whole() -> bytes:
        with Body(receive, budget or Budget(1 << 30), limit=LIMIT, unpacked=UNPACKED) as body:
            return await body.read(gzip=packed)

    return asyncio.run(whole())


def refused(chunks: Iterable[bytes], **options: bool) -> str:
    with pytest.raises(Refusal) as refusal:
        read(chunks, **options)
    return refusal.value.code


def test_a_body_comes_in_any_number_of_pieces() -> None:
    assert read([]) == b""
    assert read([b"a", b"", b"b"]) == b"ab"
    assert read([gzip.compress(b"ab")], packed=True) == b"ab"
    assert read([b"x" * LIMIT]) == b"x" * LIMIT
    assert refused([b"x" * LIMIT, b"x"]) == "too_large"
    assert refused([b"x"], ends=False) == "client_gone"


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        assert refused([bomb], packed=True) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 5 * UNPACKED
        tracemalloc.reset_peak()
        assert len(gzip.decompress(bomb)) == 100_000_000  # the control: what it would have taken
        assert tracemalloc.get_traced_memory()[1] > 20 * UNPACKED
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no gzip",
        gzip.compress(b"cut short")[:-9],
        gzip.compress(b"a") + gzip.compress(b"b"),
        gzip.compress(b"a") + b"\0",
        zlib.compress(b"zlib"),
        gzip.compress(b"wrong sum")[:-8] + bytes(8),
    ],
    ids=["empty", "text", "cut", "two", "tail", "zlib", "sum"],  # the bytes hold the time
)
def test_what_is_no_gzip_is_refused(packed: bytes) -> None:
    assert refused([packed], packed=True) == "malformed_gzip"


def test_all_bodies_together_have_a_limit_and_give_back_what_they_took() -> None:
    budget = Budget(3_000)
    for _ in range(5):
        assert read([b"x" * 1_000] * 3, budget=budget)
    with pytest.raises(Refusal) as refusal:
        read([b"x" * 1_000] * 4, budget=budget)
    assert (refusal.value.code, refusal.value.status) == ("busy", 503)
    assert refusal.value.retry_after
    assert budget.held == 0
    with pytest.raises(Refusal):
        read([gzip.compress(bytes(4_000))], budget=budget, packed=True)
    assert budget.held == 0


def test_a_bucket_fills_again_and_debts_are_paid() -> None:
    now = 1_000.0
    rates = Rates(lambda: now)
    assert rates.wait("k", 10) == 0
    rates.spend("k", 10, 100)  # ten seconds' worth at once
    assert rates.wait("k", 10) == 1
    now += 1
    assert rates.wait("k", 10) == 0
    rates.spend("k", 10, 250)
    assert rates.wait("k", 10) == 25
    now += 24.0
    assert rates.wait("k", 10) == 1
    now += 10_000
    rates.spend("k", 10, 99)  # however long the silence, no more than ten seconds' worth
    assert rates.wait("k", 10) == 0
    rates.spend("k", 10, 1)
    assert rates.wait("k", 10) == 1
    assert rates.wait("other", 10) == 0
    assert rates.wait("k", 0) == 0
