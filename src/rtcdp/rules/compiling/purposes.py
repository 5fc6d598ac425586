"""Compiled `consent:`: whether a purpose holds for a profile, what an event says about it, what an answer stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtcdp.profile import Answer, Profile
from rtcdp.rules.compiling.interpreter import Closure
from rtcdp.rules.definitions import ConsentPlan, Purpose
from rtcdp.rules.expressions.tree import Node
from rtcdp.times import timestamps

CHANNEL = "@"
"""Before the name of a channel in an answer's: `@email`, `marketing@email`; `@*` is every channel."""
EVERY = "*"
CATEGORIES = "categoryPreferences"
SAYS: Mapping[str, tuple[bool, str]] = {
    "Unsubscribed": (False, ""),
    "Message Unsubscribed": (False, ""),
    "Message Complained": (False, ""),
    "Email Unsubscribed": (False, "email"),
    "Email Marked as Spam": (False, "email"),
    "Subscribed": (True, ""),
    "Email Subscribed": (True, "email"),
    "Do Not Disturb": (False, ""),
}
"""Events that say something about a channel: whether it is wanted, and which one it is; "" where the event says which."""
SPOKEN = ("channel", "purpose", "enabled", "until")
"""The properties that are read of such an event."""


@dataclass(frozen=True)
class CompiledPurpose:
    """A purpose, ready to be asked for. region: reads the region off a profile; None where defaults do not differ by it."""

    plan: Purpose
    region: Closure | None

    @property
    def name(self) -> str:
        """Of the purpose."""
        return self.plan.name

    def default(self, profile: Profile) -> bool:
        """What holds of somebody who was never asked."""
        if self.region is None:
            return self.plan.granted
        found = self.region(profile, None)
        return self.plan.regions.get(found, self.plan.granted) if type(found) is str else self.plan.granted

    def holds(self, profile: Profile) -> bool:
        """Whether the person agrees, by what is known now."""
        answer = profile.consent.get(self.plan.name)
        return self.default(profile) if answer is None else answer.granted

    def told(self, profile: Profile) -> str:
        """The same in words: since when, or by default."""
        answer = profile.consent.get(self.plan.name)
        word = "granted" if self.holds(profile) else "denied"
        return f"{word} by default" if answer is None else f"{word} at {timestamps.render(answer.at)}"

    def covers(self, profile: Profile, occurred: int) -> bool:
        """Whether what occurred then (ms) may be used: the person agrees, and did so then."""
        answer = profile.consent.get(self.plan.name)
        if answer is None:
            return self.default(profile)
        if not answer.granted:
            return False
        return occurred >= answer.since or (occurred > answer.denied and self.default(profile))


@dataclass(frozen=True)
class CompiledConsent:
    """`consent:`, ready to be run.

    purposes: by name. given: reads `context.consent` of an event; spoken: reads one of SPOKEN.
    named:    folded category of a consent manager -> the purposes that it is about.
    """

    purposes: Mapping[str, CompiledPurpose]
    given: Callable[[Any], Any]
    spoken: Mapping[str, Callable[[Any], Any]]
    named: Mapping[str, tuple[str, ...]]

    def said(self, event: Any) -> dict[str, Answer]:
        """The answers that an event gives, by the name of what they are about."""
        at, found = event.occurred, {}
        given = self.given(event)
        if type(given) is dict:
            for name, granted in self._answers(given).items():
                found[name] = Answer(granted, at, event.id, since=at)
        if event.event in SAYS:
            name, granted, until = self._of_channel(event)
            found[name] = Answer(granted, at, event.id, since=at, until=until)
        return found

    def _answers(self, given: dict[str, Any]) -> dict[str, bool]:
        """Segment's consent object, or purposes and channels with yes and no."""
        preferences = given.get(CATEGORIES)
        if type(preferences) is not dict:
            return {name: yes for name, yes in given.items() if type(yes) is bool and self.knows(name)}
        found: dict[str, bool] = {}
        for category, yes in preferences.items():
            if type(yes) is bool:
                for name in self.named.get(category) or self.named.get(category.casefold(), ()):
                    found[name] = yes and found.get(name, True)
        return found

    def knows(self, name: str) -> bool:
        """Whether an answer of this name is about something: a purpose, a channel, or a purpose on a channel."""
        purpose, on, channel = name.partition(CHANNEL)
        return (bool(channel) if on else bool(purpose)) and (not purpose or purpose in self.purposes)

    def _of_channel(self, event: Any) -> tuple[str, bool, int]:
        """What an event of SAYS is about, yes or no, and until when (ms; 0: for good)."""
        granted, channel = SAYS[event.event]
        if event.event == "Do Not Disturb":
            granted = self.spoken["enabled"](event) is False
        named, purpose, until = (self.spoken[name](event) for name in ("channel", "purpose", "until"))
        channel = channel or (named if type(named) is str and named else EVERY)
        about = purpose if type(purpose) is str and purpose in self.purposes else ""
        return f"{about}{CHANNEL}{channel[:64]}", granted, timestamps.parse(until) or 0


def compile_consent(
    plan: ConsentPlan | None,
    region_of: Callable[[Node], Closure],
    getter: Callable[[str, tuple[str, ...]], Callable[[Any], Any]],
) -> CompiledConsent | None:
    """Compile `consent:`. region_of: makes what reads an expression off the profile; getter: what reads a path of an event."""
    if plan is None:
        return None
    region = None if plan.region is None else region_of(plan.region)
    purposes = {name: CompiledPurpose(one, region if one.regions else None) for name, one in plan.purposes.items()}
    named: dict[str, tuple[str, ...]] = {}
    for name, one in plan.purposes.items():
        for category in {each.casefold() for each in one.categories or (name,)}:
            named[category] = (*named.get(category, ()), name)
    spoken = {name: getter("properties", (name,)) for name in SPOKEN}
    return CompiledConsent(purposes, getter("context", ("consent",)), spoken, named)


def consent_paths(plan: ConsentPlan | None) -> list[tuple[str, tuple[str, ...]]]:
    """The paths of an event that are read for it."""
    return [] if plan is None else [("context", ("consent",)), *(("properties", (name,)) for name in SPOKEN)]


def refused(profile: Profile, purpose: CompiledPurpose | None, channel: str) -> str:
    """Whose refusal stops something sent for a purpose by a channel, as `purpose marketing` or `channel email`; "" for none."""
    if purpose is not None and not purpose.holds(profile):
        return f"purpose {purpose.name}"
    if not profile.consent:
        return ""
    for about in ("", purpose.name) if purpose is not None else ("",):
        for name in (channel, EVERY):
            answer = profile.consent.get(f"{about}{CHANNEL}{name}")
            if answer is not None and not answer.granted and (not answer.until or profile.now < answer.until):
                return f"purpose {about}, channel {name}" if about else f"channel {name}"
    return ""
