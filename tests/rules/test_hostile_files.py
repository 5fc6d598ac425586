"""Files of any bytes and any size: definitions, or errors with places, and never for long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules.test_normal_form import CHANGED

from rtcdp.rules.loading.documents import DEEPEST, LARGEST_FILE, MOST_VALUES
from rtcdp.rules.loading.folder import definitions_from_normal, read_folder

Folder = Callable[..., Path]


WORDS = """
features: tags: segments: triggers: lists: tracking: identity: events: namespaces: properties: a: on: count: of: where: if: cap:
payload: within: value: unless: same: after: times: per: type: paths: - { } [ ] , ? | > >- & * ! % @ ` ' " # &a *a !!str --- ...
<< ~ null : A B 1 30d a>1 properties.x traits.y scenarios: steps: event: at: +1h expect: in: sent: tags: occurred: -1h
cuts: shadow: recency: true [1,2] score(a,b) tier rfm
"""
BLANKS = ["\n", "\n  ", "\n    ", "\n      ", "\t", " ", "\x00", "\u2028", "\ufeff", "\ud800", "\x85"]
PIECES = st.sampled_from([*WORDS.split(), *BLANKS])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(PIECES, max_size=30).map(lambda pieces: " ".join(pieces).encode("utf-8", "surrogatepass")),
        st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass")),
    )
)
def test_any_bytes_are_definitions_or_errors_with_places(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "any.yaml").write_bytes(content)
    _definitions_or_errors(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(CHANGED)), st.integers(0, 12), st.one_of(PIECES, st.text(max_size=3), st.just("")))
def test_damaged_definitions_are_definitions_or_errors_with_places(tmp_path: Path, place: int, cut: int, piece: str) -> None:
    text = CHANGED[:place] + piece + CHANGED[place + cut :]
    (tmp_path / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    _definitions_or_errors(tmp_path)


def _definitions_or_errors(folder: Path) -> None:
    found = read_folder(folder)
    assert (found.definitions is None) == bool(found.errors)
    if found.definitions is not None:
        assert definitions_from_normal(found.definitions.normal) == found.definitions
    for error in found.errors:
        assert error.message
        assert error.file == "any.yaml"
        assert error.line >= 1
        assert error.column >= 1


def _laughs() -> str:
    lines = ["features: {}", "segments:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "content",
    [
        _laughs(),
        "a: " + "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: &a\n" * 2_000,
        "'" + "x" * 1_000_000,
        "segments:\n" + "".join(f" s{n}: s{n + 1}\n" for n in range(3_000)),
        "segments:\n" + "".join(f" s{n}: nothing{n}\n" for n in range(2_000)),
        "segments:\n" + " a:\n" * 5_000,
        "segments:\n a: " + "traits.x or " * 8_000,
        "x" * (LARGEST_FILE + 1),
        "\n" * 200_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_sizes_are_bounded(folder: Folder, content: str) -> None:
    found = read_folder(folder(content))
    if content.strip() and not content.startswith("segments:\n s0: s1"):
        assert found.errors
    assert len(found.errors) <= 30_000


def test_an_alias_counts_as_all_it_stands_for(folder: Folder) -> None:
    (error,) = read_folder(folder(_laughs())).errors
    assert f"more than {MOST_VALUES} values" in error.message


def test_depth_is_bounded(folder: Folder) -> None:
    (error,) = read_folder(folder("a: " + "[" * (DEEPEST + 2))).errors
    assert f"more than {DEEPEST} deep" in error.message
