"""Definitions on their way: proposed, reviewed, put in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from rtcdp.control.applying import Applied, make_current
from rtcdp.control.audit import Actor, Trail, ready
from rtcdp.control.reviews import (
    DRAFT,
    PUBLISHED,
    REVIEW,
    Draft,
    NotNow,
    Published,
    Review,
    Standing,
    Verdict,
    entry_of,
    insist,
    same_person,
    standing_of,
)
from rtcdp.control.versions import DefinitionsTopic
from rtcdp.errors import SettingError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.rules.loading.folder import definitions_from_normal, load_marked
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

MOST_NOTE = 2_000
"""Characters of a note."""


class Drafts:
    """The drafts of a deployment. Everything blocks, and raises ClusterError where the topic does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-drafts")

    def all(self) -> list[Standing]:
        """Every draft, the newest first."""
        self._topic.read()
        found = [self._standing(key.removeprefix(DRAFT)) for key in self._topic.entries if key.startswith(DRAFT)]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def draft(self, version: str) -> tuple[Draft, Standing]:
        """One of them. Raises NotNow where there is none."""
        self._topic.read()
        found = entry_of(self._topic.entries, DRAFT + version, Draft)
        if found is None:
            raise NotNow(f"nobody has proposed the definitions {version!r}")
        return found, self._standing(version)

    def propose(self, folder: Path, by: Actor, note: str = "") -> Standing:
        """Propose what a folder holds. Proposed again, it stays whose it was. Raises DefinitionErrors, SettingError."""
        definitions, shadow = load_marked(folder)
        version = definitions.version
        self._topic.read()
        if DRAFT + version not in self._topic.entries:
            files, normal = _files(folder), definitions.normal
            draft = Draft(version=version, files=files, normal=normal, shadow=shadow, by=by, at=_now(), note=_note(note))
            self._written("drafts.propose", by, version, {DRAFT + version: msgspec.json.encode(draft)})
        return self._standing(version)

    def review(self, version: str, by: Actor, verdict: Verdict, note: str = "") -> Standing:
        """Approve or reject a draft; who did before changes his mind. Raises NotNow, SettingError.

        With four eyes whoever proposed it cannot approve it.
        """
        draft, _ = self.draft(version)
        if verdict == "approve" and self._settings.definitions_review == "four-eyes" and same_person(draft.by, by):
            raise NotNow("somebody else than its author has to approve it (definitions_review: four-eyes)")
        said = Review(by=by, at=_now(), verdict=verdict, note=_note(note))
        self._written(f"drafts.{verdict}", by, version, {f"{REVIEW}{version}/{by.id}": msgspec.json.encode(said)})
        return self._standing(version)

    def publish(self, version: str, by: Actor, *, wait_s: float = 10.0) -> Applied:
        """Put a draft in force. Raises NotNow where a review is missing, DefinitionErrors where it cannot be read any more."""
        draft, standing = self.draft(version)
        if standing.state == "rejected":
            raise NotNow(f"the definitions {version} were rejected")
        insist(self._settings, self._topic.entries, version)
        done = make_current(
            self._settings,
            definitions_from_normal(draft.normal),
            shadow=draft.shadow,
            wait_s=wait_s,
            by=by,
            what="drafts.publish",
        )
        said = Published(by=by, at=_now())
        self._topic.write({PUBLISHED + version: msgspec.json.encode(said)})
        return done

    def withdraw(self, version: str, by: Actor) -> None:
        """Take a draft and its reviews away. What was in force stays known. Raises NotNow."""
        _, standing = self.draft(version)
        if standing.state == "published":
            raise NotNow(f"the definitions {version} have been in force: what was reviewed is kept")
        reviews = [key for key in self._topic.entries if key.startswith(f"{REVIEW}{version}/")]
        self._written("drafts.withdraw", by, version, dict.fromkeys([*reviews, DRAFT + version]))

    def _written(self, what: str, by: Actor, version: str, entries: Mapping[str, bytes | None]) -> None:
        ready(self._settings)
        Trail(self._settings, by).write(what, about={"version": version})
        self._topic.write(entries)

    def _standing(self, version: str) -> Standing:
        found = standing_of(self._settings, self._topic.entries, version)
        if found is None:
            raise NotNow(f"nobody has proposed the definitions {version!r}")
        return found


def _files(folder: Path) -> dict[str, str]:
    """The YAML files of a folder, by their path in it. Raises SettingError."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix in {".yaml", ".yml"} and path.is_file()]
    try:
        return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in found}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{folder} cannot be read: {error}") from None


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write a draft's files into a new folder. Raises SettingError where it is there already, or a name leads out of it."""
    if folder.exists():
        raise SettingError(f"to: {folder} is there already")
    wrong = [name for name in files if not (folder / name).resolve().is_relative_to(folder.resolve())]
    if wrong:
        raise SettingError(f"to: {wrong[0]!r} leads out of {folder}")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def _note(text: str) -> str:
    if len(text) > MOST_NOTE:
        raise SettingError(f"note: at most {MOST_NOTE} characters")
    return text


def _now() -> str:
    return timestamps.rfc3339(now_ms())
