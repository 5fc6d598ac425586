"""Every error of rtcdp, split by whose fault it is.

`DefinitionErrors`   the person who wrote the YAML: file, line, column, what was expected.
`SettingError`       the person who started the process: the setting's name. Exit code 2.
`ClusterError`       the Kafka cluster is not as it must be: one sentence. Exit code 2.
`Fenced`, `Stalled`  this process must end now; its work belongs to another or cannot go on.
`Unfit`              one input record cannot be used: it becomes a dead letter, nothing else happens.
"""

from __future__ import annotations

from dataclasses import dataclass


class RtcdpError(Exception):
    """Base of all errors that rtcdp raises on purpose."""


@dataclass(frozen=True)
class DefinitionError:
    """One thing wrong in a folder of definitions.

    line and column count from 1; 0 where the place is not known.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """`FILE:LINE:COLUMN: message (hint)`, as editors and terminals link it."""
        tail = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{tail}"


class DefinitionErrors(RtcdpError):
    """All that is wrong in a folder of definitions, in the order of the files."""

    def __init__(self, errors: list[DefinitionError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class SettingError(RtcdpError):
    """A setting that cannot be used; the message names it."""


class ClusterError(RtcdpError):
    """The cluster cannot be reached or is not as rtcdp needs it; the message is one sentence."""


class Fenced(RtcdpError):
    """Another worker has taken over: whatever is not committed belongs to it."""


class Stalled(RtcdpError):
    """The process cannot go on (fatal producer error, nothing moves): it must exit."""


class Unfit(RtcdpError):
    """One record that cannot be used. `reason` is a fixed word, `field` the place in the event."""

    def __init__(self, reason: str, detail: str, field: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.field = field
        super().__init__(detail)
