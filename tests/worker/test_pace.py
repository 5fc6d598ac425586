"""How much one transaction takes."""

from rtcdp.worker.pace import Pace


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
