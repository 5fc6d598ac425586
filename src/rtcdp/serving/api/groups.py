"""Small groups: who may not see personal fields is told nothing of a group so small that it would speak of one person."""

from __future__ import annotations

from rtcdp.serving.api.operations import Call
from rtcdp.serving.api.problems import Problem


class Groups:
    """The threshold k of a deployment.

    least: k, the fewest that a count may speak of; 0: any count is told as it is.

    Counts below k are withheld, others told as multiples of k: so the difference of two counts (yesterday's and today's, a
    segment and what it shares with another) singles nobody out either.
    """

    def __init__(self, least: int) -> None:
        self.least = least

    def told(self, call: Call, count: int) -> int | None:
        """A count as this token may know it; None where it may not."""
        if call.personal or not self.least:
            return count
        return count - count % self.least if count >= self.least else None

    def insist(self, call: Call, count: int, what: str) -> None:
        """Refuse to tell more about a group that is too small. Raises Problem."""
        if not call.personal and count < self.least:
            raise Problem(
                403, f"{what} has fewer than {self.least} members: a token without the scope personal is told nothing"
            )
