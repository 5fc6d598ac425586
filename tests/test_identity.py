"""Who an event belongs to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.ingestion.identity import (
    BLOCKED,
    MAX_VALUE,
    NAMESPACES,
    Resolver,
    blocked,
    normalise,
    parse_profile_key,
    profile_key,
)
from rtcdp.rules.definitions import IdentityPlan, Namespace


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("u1", b"main/user_id:u1"),
        ("张三", "main/user_id:张三".encode()),
        ("a/b:c%d", b"main/user_id:a%2Fb%3Ac%25d"),
        ("a\x7f\x85", b"main/user_id:a%7F%C2%85"),
    ],
)
def test_profile_key(value: str, key: bytes) -> None:
    assert profile_key("main", "user_id", value) == key
    assert parse_profile_key(key) == ("main", "user_id", value)


@given(st.from_regex(r"[a-z0-9_-]+", fullmatch=True), st.sampled_from([each.name for each in NAMESPACES]), st.text(min_size=1))
def test_keys_are_read_back(tenant: str, namespace: str, value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    key = profile_key(tenant, namespace, value)
    assert parse_profile_key(key) == (tenant, namespace, value)
    assert not key.startswith(b"~")
    assert key.count(b"/") == 1
    assert key.count(b":") == 1


@given(st.text(min_size=1, max_size=6), st.text(min_size=1, max_size=6))
def test_different_values_have_different_keys(one: str, other: str) -> None:
    keys = {profile_key("main", "user_id", value.encode("utf-8", "replace").decode()) for value in (one, other)}
    assert len(keys) == len({value.encode("utf-8", "replace") for value in (one, other)})


@pytest.mark.parametrize(
    "key", [b"", b"main", b"main/user_id", b"/user_id:x", b"main/user_id:", b"main/user_id:a/b", b"\xff", b"~tick"]
)
def test_what_is_no_key(key: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the kind is the contract; UnicodeDecodeError is one
        parse_profile_key(key)


@pytest.mark.parametrize(
    ("tenant", "namespace", "value"),
    [("Main", "user_id", "x"), ("", "a", "x"), ("a/b", "a", "x"), ("a", "a:b", "x"), ("a", "b", "")],
)
def test_what_cannot_be_made_a_key(tenant: str, namespace: str, value: str) -> None:
    with pytest.raises(ValueError, match="no profile key"):
        profile_key(tenant, namespace, value)


@pytest.mark.parametrize(
    ("value", "form", "normal"),
    [
        ("  u1\n", "exact", "u1"),
        ("U1", "exact", "U1"),
        (42, "exact", "42"),
        (42.0, "exact", "42"),
        (4.5, "exact", ""),
        (True, "exact", ""),
        (["a"], "exact", ""),
        ("e\u0301", "exact", "é"),
        ("x" * MAX_VALUE, "exact", "x" * MAX_VALUE),
        ("x" * (MAX_VALUE + 1), "exact", ""),
        (" Anna.Li@Example.COM ", "email", "anna.li@example.com"),
        ("no mail", "email", ""),
        ("a@b@c", "email", ""),
        ("STRASSE", "lower", "strasse"),
        ("+86 138-0013-8000", "phone", "+8613800138000"),
        ("0086 13800138000", "phone", "+8613800138000"),
        ("(415) 555-2671", "phone", "4155552671"),
        ("13800138000", "phone", "13800138000"),
        (13800138000, "phone", "13800138000"),
        ("＋８６１３８００１３８０００", "phone", ""),
        ("１３８００１３８０００", "phone", "13800138000"),
        ("123", "phone", ""),
        ("call me", "phone", ""),
        ("+123456789012345678", "phone", ""),
    ],
)
def test_normal_forms(value: object, form: str, normal: str) -> None:
    assert normalise(value, form) == normal
    assert normalise(normal, form) == normal


@given(st.text(max_size=30) | st.integers() | st.floats(), st.sampled_from(["exact", "lower", "email", "phone"]))
def test_normal_forms_are_normal(value: object, form: str) -> None:
    normal = normalise(value, form)
    assert normalise(normal, form) == normal
    assert len(normal) <= MAX_VALUE


@pytest.mark.parametrize("value", [*sorted(BLOCKED), "NULL", "Undefined", "0", "000", "00000000-0000-0000-0000-000000000000"])
def test_block_list(value: str) -> None:
    assert blocked(value)
    assert Resolver(IdentityPlan(), "main").user_id(value, Counter()) == ""


@pytest.mark.parametrize("value", ["nullius", "anonymous-7", "1", "-2", "0a"])
def test_not_blocked(value: str) -> None:
    assert not blocked(value)


def key(
    user: object = None,
    anonymous: object = None,
    traits: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    plan: IdentityPlan | None = None,
) -> tuple[bytes | None, Counter[str]]:
    fixes: Counter[str] = Counter()
    resolver = Resolver(plan or IdentityPlan(), "main")
    found = resolver.key(
        resolver.user_id(user, fixes), resolver.anonymous_id(anonymous, fixes), traits or {}, context or {}, fixes
    )
    return found, fixes


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"user": "u", "anonymous": "a", "traits": {"email": "a@b.c"}}, b"main/user_id:u"),
        ({"anonymous": "a"}, b"main/anonymous_id:a"),
        ({"anonymous": "a", "traits": {"email": "A@b.c", "phone": "+86 13800138000"}}, b"main/phone:+8613800138000"),
        ({"anonymous": "a", "context": {"traits": {"email": "A@b.c"}}}, b"main/email:a@b.c"),
        ({"anonymous": "a", "context": {"device": {"id": "d"}}}, b"main/device:d"),
        (
            {"anonymous": "a", "context": {"externalIds": [{"id": "o", "type": "openid"}, {"id": "n", "type": "unionid"}]}},
            b"main/unionid:n",
        ),
        ({"anonymous": "a", "context": {"externalIds": {"openid": "o"}}}, b"main/openid:o"),
        ({"anonymous": "a", "context": {"externalIds": "text", "device": 3}}, b"main/anonymous_id:a"),
        ({"anonymous": "a", "traits": {"email": "no mail", "member_card": "null"}}, b"main/anonymous_id:a"),
        ({"user": "undefined", "anonymous": "a"}, b"main/anonymous_id:a"),
        ({"user": 0, "anonymous": True}, None),
        ({"user": "", "anonymous": "null"}, None),
        ({}, None),
    ],
)
def test_the_strongest_identifier(arguments: dict[str, Any], expected: bytes | None) -> None:
    assert key(**arguments)[0] == expected


def test_what_is_refused_is_counted_each_time() -> None:
    resolver = Resolver(IdentityPlan(), "main")
    fixes: Counter[str] = Counter()
    for _ in range(3):
        assert resolver.user_id("null", fixes) == ""
    assert fixes == {"identifiers": 3}


def test_numbers_and_booleans_are_not_mixed_up() -> None:
    resolver = Resolver(IdentityPlan(), "main")
    fixes: Counter[str] = Counter()
    assert [resolver.user_id(value, fixes) for value in (7, 7.0, "7", True, 1, 1.5)] == ["7", "7", "7", "", "1", ""]


def test_a_plan_of_ones_own() -> None:
    plan = IdentityPlan(
        namespaces=(
            Namespace("anonymous_id", 9, ("anonymousId",)),
            Namespace("crm", 0, ("traits.crm.id",), "lower"),
            Namespace("user_id", 1, ("userId",)),
        ),
        blocked=frozenset({"Test"}),
    )
    assert key("u", "a", {"crm": {"id": "ABC"}}, plan=plan)[0] == b"main/crm:abc"
    assert key("u", "a", plan=plan)[0] == b"main/user_id:u"
    assert key("TEST", "a", plan=plan)[0] == b"main/anonymous_id:a"
    with pytest.raises(ValueError, match="no profile key"):
        Resolver(IdentityPlan(namespaces=(Namespace("Bad:Name", 0, ("userId",)),)), "main")


def test_namespaces_are_strongest_first() -> None:
    assert [each.priority for each in NAMESPACES] == list(range(len(NAMESPACES)))
    assert [each.name for each in NAMESPACES] == [
        "user_id", "member_card", "unionid", "openid", "phone", "email", "device", "anonymous_id",
    ]  # fmt: skip
