"""What ingest knows of one source partition: where it is, what is done, and the low watermark that follows. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rtcdp.worker.ingest.progress import Progress, VersionPoint

VERSIONS_KEPT = 16


@dataclass(frozen=True)
class End:
    """An answer about a partition's end: it was `offset` when the broker answered a request sent at `asked` (ms)."""

    offset: int
    asked: int


@dataclass(frozen=True)
class Empty:
    """Between these offsets [start, end) lies nothing to read: only markers of transactions."""

    start: int
    end: int


class Lane:
    """One source partition.

    source:   `<topic id>/<partition>`.
    start:    offset of the first record to be taken; everything below is done.
    timed:    whether append times count (`arrival` mode): else there is no watermark.
    versions: where which ingest version begins.
    """

    def __init__(self, source: str, start: int, versions: list[VersionPoint], *, timed: bool, watermark: int = 0) -> None:
        self.source = source
        self.position = start
        self.done = start
        self.watermark = watermark
        self.versions = versions
        self._timed = timed
        self._marks: deque[tuple[int, int]] = deque()

    def took(self, position: int, appended: int) -> None:
        """Records up to before `position` were taken; the last of them was appended at `appended` (ms)."""
        self.position = position
        if self._timed:
            self._marks.append((position, appended))

    def advance(self, acknowledged: int | None, end: End | None = None, empty: Empty | None = None) -> bool:
        """Bring `done` and `watermark` up to date; true where one of them moved.

        acknowledged: offset of the last record up to which everything is acknowledged, None where there is none yet.
        end, empty:   the newest answers about the partition's end.

        The watermark is the append time of the last record done, since the next one was appended no earlier. Where all
        is done, it is the time at which the question was asked whose answer said so. Without an answer it stands still.
        """
        before = (self.done, self.watermark)
        if acknowledged is not None:
            self.done = max(self.done, acknowledged + 1)
        marks = self._marks
        while marks and marks[0][0] <= self.done:
            self.watermark = max(self.watermark, marks.popleft()[1])
        if empty is not None and empty.start == self.done == self.position:
            self.done = self.position = empty.end
        if self._timed and end is not None and end.offset <= self.done:
            self.watermark = max(self.watermark, end.asked)
        return (self.done, self.watermark) != before

    def may_be_empty(self, end: End | None) -> bool:
        """Whether everything taken is done and the partition still goes on: perhaps with nothing but markers."""
        return end is not None and self.position == self.done < end.offset

    def begin_version(self, offset: int, version: str, definitions: str) -> None:
        """From `offset` on another ingest version counts."""
        kept = [point for point in self.versions if point.offset < offset]
        self.versions = [*kept, VersionPoint(offset, version, definitions)][-VERSIONS_KEPT:]

    def version_at(self, offset: int) -> tuple[VersionPoint, int | None]:
        """The version that counts at an offset, and the offset where the next one begins (None: it is the last)."""
        found, following = self.versions[0], None
        for point in self.versions[1:]:
            if point.offset > offset:
                following = point.offset
                break
            found = point
        return found, following

    def progress(self) -> Progress:
        """What is to be published."""
        return Progress(done=self.done, watermark=self.watermark, versions=self.versions)
