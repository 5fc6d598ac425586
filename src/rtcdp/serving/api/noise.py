"""Counts with noise: differential privacy by OpenDP.

A release is a vector of counts of one population. One person more or less changes at most so many of them (`changed`) by one
each, so noise of the discrete Laplace distribution with scale changed / epsilon makes the release epsilon-differentially
private (Ghosh, Roughgarden, Sundararajan 2012). OpenDP draws it exactly, in integers, from the system's secure randomness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtcdp.errors import SettingError

CONFIDENCE = 0.95


class Noise:
    """Makes counts fit to be published.

    epsilon: how much a release may tell of one person: the chances of any release with and without them differ by a factor of
             e^epsilon at most.

    Raises SettingError where OpenDP is not installed.
    """

    def __init__(self, epsilon: float) -> None:
        try:
            import opendp.prelude as dp  # noqa: PLC0415 - only where it is used: 260 MB
        except ImportError:
            raise SettingError("counts_epsilon: needs OpenDP; install rtcdp[dp]") from None
        dp.enable_features("contrib")  # OpenDP's own word for all that is not proven by machine yet
        self._dp: Any = dp
        self.epsilon = epsilon

    def scale(self, changed: int) -> float:
        """The noise's scale."""
        return changed / self.epsilon

    def off_by(self, changed: int) -> float:
        """A count is at most so far off in 95 of 100 cases."""
        found: float = self._dp.discrete_laplacian_scale_to_accuracy(scale=self.scale(changed), alpha=1 - CONFIDENCE)
        return found

    def added(self, counts: Sequence[int], changed: int) -> list[int]:
        """The counts with noise, none below zero. changed: how many of them one person can change, by one each."""
        if not counts:
            return []
        dp = self._dp
        space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
        measurement = dp.m.make_laplace(*space, scale=self.scale(changed))
        if measurement.map(d_in=changed) > self.epsilon * (1 + 1e-9):
            raise RuntimeError("the noise is smaller than epsilon wants")
        return [max(0, count) for count in measurement(list(counts))]
