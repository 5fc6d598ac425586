from __future__ import annotations

import re

import pytest

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import ClusterError
from rtcdp.position import Position
from rtcdp.worker.profiles.changelog import Changelog, check_profiles

CHANGELOG = Changelog("changelog", "log", 3, "id")


def encoded(**more: object) -> bytes:
    return positions.encode(Position(**{"topic_id": "id", "offset": 9, **more}))  # type: ignore[arg-type] # fields by name


def test_position_that_agrees_is_taken() -> None:
    assert CHANGELOG.position(encoded(), None) == Position(topic_id="id", offset=9)
    assert CHANGELOG.position(encoded(), 10) == Position(topic_id="id", offset=9)
    assert CHANGELOG.position(None, None) is None


@pytest.mark.parametrize(
    ("found", "witness", "words"),
    [
        (None, 5, "log/3: the group has done 5 records, but changelog/3 has no position"),
        (encoded(), 11, "the changelog has lost records; `rtcdp rebuild`"),
        (encoded(topic_id="other"), 10, "deleted and made again"),
        (b"\xff garbage", None, "changelog/3: the position cannot be read"),
        (encoded(format=positions.FORMAT + 1), None, "a newer release has written it"),
    ],
)
def test_position_that_contradicts_is_refused_by_name(found: bytes | None, witness: int | None, words: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(words)):
        CHANGELOG.position(found, witness)


def test_profiles_of_this_release_are_taken() -> None:
    check_profiles("changelog", 3, {b"main/user_id:a": profiles.encode(profiles.Profile("main/user_id:a"))})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"short", "changelog/3: the entry of main/user_id:a is no profile: `rtcdp rebuild`"),
        (bytes(100), "is no profile"),
        (
            bytes([profiles.FORMAT + 1]) + bytes(99),
            f"has format {profiles.FORMAT + 1}, this release reads up to {profiles.FORMAT}",
        ),
    ],
)
def test_entry_that_is_no_profile_is_refused_by_name(value: bytes, words: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(words)):
        check_profiles("changelog", 3, {b"main/user_id:a": value})
