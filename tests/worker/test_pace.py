"""How much one transaction takes."""

from rtcdp.worker.pace import MOST_S, SETTLE_S, SHARE_S, Pace, Rest


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
