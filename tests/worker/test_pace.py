"""How much one transaction takes."""

from rtcdp.worker.profiles.pace import FEWEST, MOST_S, MOST_WAKES, SETTLE_S, SHARE_S, Pace, Rest, Slices


def test_transactions_grow_while_commits_are_short_and_shrink_where_they_are_long() -> None:
    pace = Pace(15_000, 8 << 20)
    assert (pace.records, pace.size) == (500, 256 << 10)
    taken = []
    for _ in range(8):
        pace.took(0.01)
        taken.append(pace.records)
    assert taken[:5] == [1_000, 2_000, 4_000, 8_000, 15_000]
    assert (pace.records, pace.size) == (15_000, 8 << 20)
    pace.took(1.5)
    assert pace.records == 15_000, "neither short nor long"
    for _ in range(20):
        pace.took(3.0)
    assert (pace.records, pace.size) == (500, 256 << 10), "a broker that is merely far away is not helped by less"
    assert Pace(3, 100).records == 3


def test_partitions_rest_the_longer_the_more_of_them_commit() -> None:
    rest = Rest()
    assert rest.least(100.0) == SETTLE_S
    for partition in range(4):
        rest.committed(partition, 100.0)
    assert rest.least(100.01) == 4 * SHARE_S
    rest.committed(0, 100.2)  # the others are idle
    assert rest.least(100.2) == SETTLE_S
    for partition in range(64):
        rest.committed(partition, 100.3)
    assert rest.least(100.3) == MOST_S


def test_a_tick_wakes_as_many_as_the_event_loop_has_time_for() -> None:
    slices = Slices()
    alone = slices.wakes(0.0)
    assert FEWEST < alone < MOST_WAKES
    for _ in range(50):
        slices.took(0, alone, alone * 0.00001, 0.0)
    cheap = slices.wakes(0.0)
    assert cheap > 3 * alone
    for partition in range(4):
        slices.took(partition, 1_000, 0.01, 0.0)
    assert cheap / 5 < slices.wakes(0.0) < cheap / 3, "they share the time"
    assert slices.wakes(10.0) >= cheap, "those that have nobody to wake take none of it"
    for _ in range(50):
        slices.took(0, 1_000, 1.0, 20.0)
    assert slices.wakes(20.0) == FEWEST


def test_a_few_that_were_woken_among_many_events_tell_nothing_of_what_waking_costs() -> None:
    slices = Slices()
    before = slices.wakes(0.0)
    slices.took(0, 1, 0.5, 0.0)
    assert slices.wakes(0.0) == before
