"""What a back-test counts in place of putting it out."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Literal

from rtcdp.folding.outbox import Cause, Outbox
from rtcdp.profile import Profile, Start
from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
from rtcdp.rules.compiling.programs import Deliver
from rtcdp.rules.sending import DAY_MS


class Tally(Outbox):
    """Counts what is put out instead of writing it.

    moves:  (kind, name) -> how often: `entered`, `exited`, `tag`; `stage` by the name of the stage that was reached.
    fires:  trigger -> day (since 1970) -> how often it was sent.
    held:   trigger -> reason -> how often it was decided not to send.
    ever:   segment -> keys of the profiles that have been in it.
    wakes:  how many instants were passed at which time alone could change something.
    """

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.moves: Counter[tuple[str, str]] = Counter()
        self.fires: dict[str, Counter[int]] = defaultdict(Counter)
        self.held: dict[str, Counter[str]] = defaultdict(Counter)
        self.ever: dict[str, set[str]] = defaultdict(set)
        self.wakes = 0

    def begin(self, cause: Cause, message_id: str = "", other: str = "", *, historical: bool = False) -> None:
        """Count instants of time."""
        if cause == "time":
            self.wakes += 1

    def change(
        self,
        profile: Profile,
        kind: Literal["entered", "exited", "tag", "stage", "consent"],
        name: str,
        old: Any = None,
        new: Any = None,
    ) -> None:
        """Count a change."""
        self.moves[kind, name if kind != "stage" else new or ""] += 1
        if kind == "entered":
            self.ever[name].add(profile.key)

    def not_sent(self, profile: Profile, name: str, reason: str, by: str = "", step: str = "", arm: str = "") -> None:
        """Count a decision not to send."""
        self.held[name][reason] += 1

    def identity(self, profile: Profile, other: str, reason: str) -> None:
        """Count what became of an identifier."""
        self.moves["identity", reason] += 1

    def cancel(self, profile: Profile, key: str, trigger: str, channel: str, reason: str) -> None:
        """Count what is withdrawn."""
        self.held[trigger]["withdrawn after it was sent"] += 1

    def trigger(
        self, profile: Profile, trigger: CompiledTrigger, start: Start, payload: dict[str, Any], message: Deliver, arm: str
    ) -> None:
        """Count what is sent."""
        self.fires[trigger.name][profile.now // DAY_MS] += 1
