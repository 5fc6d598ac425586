"""The index of wake times finds who is due, whatever has moved since, and does not grow with every move."""

from __future__ import annotations

import random

from rtcdp.aggregates import NEVER
from rtcdp.folding.timers import Timers


class Wakes(dict[bytes, int]):
    """The truth, and an index that is told as the runner tells it: of what is new or earlier."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers(lambda key: self.get(key, NEVER))

    def move(self, key: bytes, to: int) -> None:
        before, self[key] = self.get(key, NEVER), to
        if to < before:
            self.timers.add(to, key)

    def due(self, until: int, most: int) -> list[bytes]:
        return sorted((key for key, at in self.items() if at <= until), key=lambda key: (self[key], key))[:most]


def test_finds_what_a_look_at_everybody_finds() -> None:
    chance = random.Random(4)
    wakes = Wakes()
    names = [b"%d" % number for number in range(60)]
    for now in range(3_000):
        for name in chance.sample(names, 3):
            wakes.move(name, chance.choice([NEVER, now + chance.randint(1, 9), now + chance.randint(1, 500)]))
        if chance.random() < 0.5:
            most = chance.choice([1, 3, 1_000])
            found = wakes.timers.due(now, most)
            assert found == wakes.due(now, most)
            assert wakes.timers.due(now, most) == found, "nothing is taken out"
            for name in found:
                wakes.move(name, chance.choice([NEVER, now + chance.randint(1, 300)]))
        assert wakes.timers.next() == min(wakes.values())


def test_who_is_put_off_again_and_again_has_one_entry() -> None:
    wakes = Wakes()
    for now in range(10_000):
        wakes.move(b"a", now + 100)
        wakes.move(b"b", now + 200)
    assert len(wakes.timers) == 2
    assert wakes.timers.next() == 9_999 + 100
    assert len(wakes.timers) == 2
