"""A lane: what is done, and the low watermark that follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtcdp.worker.ingest.lanes import VERSIONS_KEPT, Empty, End, Lane
from rtcdp.worker.ingest.progress import VersionPoint, decode, encode


def lane(start: int = 0, *, timed: bool = True) -> Lane:
    return Lane("id/0", start, [VersionPoint(0, "v", "d")], timed=timed)


def test_the_watermark_is_the_append_time_of_the_last_record_done() -> None:
    one = lane()
    one.took(10, 1_000)
    one.took(20, 2_000)
    assert not one.advance(None)
    assert one.advance(8)
    assert (one.done, one.watermark) == (9, 0)
    one.advance(9)
    assert (one.done, one.watermark) == (10, 1_000)
    one.advance(19)
    assert (one.done, one.watermark) == (20, 2_000)


def test_where_all_is_read_it_is_when_that_was_asked() -> None:
    one = lane()
    one.took(10, 1_000)
    one.advance(9, End(10, 5_000))
    assert one.watermark == 5_000
    one.advance(9, End(10, 6_000))
    assert one.watermark == 6_000
    one.advance(9, End(11, 7_000))
    assert one.watermark == 6_000, "a record has come that is not done"


def test_what_is_taken_and_not_acknowledged_holds_it_back() -> None:
    one = lane()
    one.took(10, 1_000)
    one.advance(4, End(10, 5_000))
    assert (one.done, one.watermark) == (5, 0)


def test_an_empty_partition_has_the_time_of_the_answer() -> None:
    one = lane(start=7)
    one.advance(None, End(7, 5_000))
    assert one.progress().watermark == 5_000
    assert one.progress().done == 7


def test_markers_at_the_end_are_passed_once_they_are_known_to_be_nothing_else() -> None:
    one = lane()
    one.took(10, 1_000)
    one.advance(9, End(11, 5_000))
    assert (one.watermark, one.may_be_empty(End(11, 5_000))) == (1_000, True)
    one.advance(9, End(11, 6_000), Empty(10, 11))
    assert (one.done, one.position, one.watermark) == (11, 11, 6_000)
    one.took(13, 7_000)
    one.advance(12, End(20, 8_000), Empty(10, 11))
    assert (one.done, one.watermark) == (13, 7_000)


def test_an_old_answer_about_an_empty_end_is_not_used_again() -> None:
    one = lane()
    one.took(10, 1_000)
    one.advance(9, None, Empty(8, 9))
    assert one.done == 10
    one.took(12, 1_500)
    one.advance(9, None, Empty(10, 12))
    assert one.done == 10, "records were taken there that are not acknowledged"


def test_event_mode_gives_no_watermark() -> None:
    one = lane(timed=False)
    one.took(10, 1_000)
    one.advance(9, End(10, 5_000))
    assert (one.done, one.watermark) == (10, 0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 50), st.integers(0, 20), st.booleans()), max_size=40))
def test_it_never_passes_the_append_time_of_a_record_that_is_not_done(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    """Records are appended at rising times; the lane takes and acknowledges behind; the ends are asked now and then."""
    one, times, clock, acknowledged = lane(), [], 0, -1
    for appended, passing, acknowledging, ask in steps:
        for _ in range(appended):
            clock += passing
            times.append(clock)
        take = min(len(times), one.position + 2)
        if take > one.position:
            one.took(take, times[take - 1])
        acknowledged = min(one.position - 1, acknowledged + acknowledging)
        before = (one.done, one.watermark)
        one.advance(acknowledged if acknowledged >= 0 else None, End(len(times), clock) if ask else None)
        assert (one.done, one.watermark) >= before
        assert all(time >= one.watermark for time in times[one.done :])


def test_versions_by_offset() -> None:
    one = lane()
    one.begin_version(100, "w", "e")
    assert one.version_at(5) == (VersionPoint(0, "v", "d"), 100)
    assert one.version_at(99)[0].version == "v"
    assert one.version_at(100) == (VersionPoint(100, "w", "e"), None)
    one.begin_version(100, "x", "f")
    assert one.version_at(100)[0].version == "x", "nothing was made by the version that began there"
    for offset in range(200, 200 + 2 * VERSIONS_KEPT):
        one.begin_version(offset, str(offset), "d")
    assert len(one.versions) == VERSIONS_KEPT
    assert decode(encode(one.progress())) == one.progress()
