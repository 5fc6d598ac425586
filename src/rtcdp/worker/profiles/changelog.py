"""What a restored changelog partition must be like: damage is named and refused, never taken for an empty start."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import ClusterError
from rtcdp.position import Position

REBUILD = "`rtcdp rebuild` makes it anew from the log"
PREFIX_BYTES = 29


def check_profiles(changelog: str, number: int, state: Mapping[bytes, bytes]) -> None:
    """Look at the entries of a partition, except for their bodies, which are read on first touch.

    Raises ClusterError, naming the first that is no profile of this release.
    """
    name = f"{changelog}/{number}"
    for key, value in state.items():
        if len(value) < PREFIX_BYTES or not value[0]:
            raise ClusterError(f"{name}: the entry of {_text(key)} is no profile: {REBUILD}")
        if value[0] > profiles.FORMAT:
            raise ClusterError(
                f"{name}: the profile {_text(key)} has format {value[0]}, this release reads up to {profiles.FORMAT}: "
                "a newer release has written it; start that one"
            )


class Changelog:
    """A changelog partition and the log it belongs to.

    changelog, log: names of the topics.
    number:   the partition.
    topic_id: id of the log, as positions record it.
    """

    def __init__(self, changelog: str, log: str, number: int, topic_id: str) -> None:
        self._name = f"{changelog}/{number}"
        self._log = f"{log}/{number}"
        self._topic_id = topic_id

    def position(self, found: bytes | None, witness: int | None) -> Position | None:
        """The position; None where nobody has owned the partition yet.

        found:   what the changelog has for it.
        witness: offset that the group has committed, None where there is none: never ahead of the position.

        Raises ClusterError where they contradict each other or the log.
        """
        if found is None:
            if witness is not None:
                raise ClusterError(
                    f"{self._log}: the group has done {witness} records, but {self._name} has no position: "
                    f"it was deleted or emptied; {REBUILD}"
                )
            return None
        position = self._decoded(found)
        if position.topic_id != self._topic_id:
            raise ClusterError(
                f"{self._log}: the position was made for the topic with the id {position.topic_id}, this one has "
                f"{self._topic_id}: it was deleted and made again; start anew under another app name"
            )
        if witness is not None and witness > position.offset + 1:
            raise ClusterError(
                f"{self._log}: the group has done {witness} records, the position in {self._name} only "
                f"{position.offset + 1}: the changelog has lost records; {REBUILD}"
            )
        return position

    def _decoded(self, found: bytes) -> Position:
        try:
            position = positions.decode(found)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ClusterError(f"{self._name}: the position cannot be read ({error}): {REBUILD}") from error
        if position.format > positions.FORMAT:
            raise ClusterError(
                f"{self._name}: the position has format {position.format}, this release reads up to {positions.FORMAT}: "
                "a newer release has written it; start that one"
            )
        return position


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")
