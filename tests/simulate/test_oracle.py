"""The comparison that `lost` is counted by must see every kind of difference."""

from __future__ import annotations

from rtcdp.simulate.oracle import Output, compare, memberships

A = Output("profile-changes", b"k", b'{"id":"1","kind":"entered","profile":"k","name":"buyers"}')
B = Output("triggers", b"k", b'{"id":"1"}')
OUT = Output("profile-changes", b"k", b'{"id":"2","kind":"exited","profile":"k","name":"buyers"}')


def letter(reason: str, origin: int, text: str = "h") -> Output:
    body = f'{{"stage":"ingest","reason":"{reason}","detail":"d","length":1,"hash":"{text}","origin":{{"offset":{origin}}}}}'
    return Output("events-dlq", str(origin).encode(), body.encode())


def test_equal_sets_in_any_order_have_no_differences() -> None:
    assert compare([A, B, OUT], [OUT, B, A]).lost == 0


def test_missing_extra_and_different_are_told_apart() -> None:
    changed = A._replace(value=A.value.replace(b"buyers", b"others"))
    moved = A._replace(key=b"other")
    assert compare([A, B], [A]).missing == [B]
    assert compare([A], [A, A]).extra == [A]
    assert compare([A], [changed]).different == [(A, changed)]
    assert compare([A], [moved]).different == [(A, moved)]


def test_dead_letters_are_the_same_wherever_they_lay() -> None:
    assert compare([letter("empty", 1), letter("empty", 2)], [letter("empty", 9), letter("empty", 8)]).lost == 0
    assert compare([letter("empty", 1)], [letter("not_utf8", 1)]).lost == 2
    assert compare([letter("empty", 1)], [letter("empty", 1, "other")]).lost == 2


def test_memberships_follow_the_changes() -> None:
    assert memberships([A]) == {("k", "buyers")}
    assert memberships([A, OUT]) == set()


def of_identity(key: str, other: str, reason: str) -> Output:
    body = f'{{"id":"{key}{reason}","kind":"identity","profile":"{key}","name":"{other}","reason":"{reason}"}}'
    return Output("profile-changes", key.encode(), body.encode())


def test_of_people_who_became_one_the_end_is_compared() -> None:
    alias, merged = of_identity("k2", "k", "alias"), of_identity("k", "k2", "merged")
    in_order, overtaken = [alias, merged, A], [alias, A]
    assert compare(in_order, overtaken).lost == 0, "the link came before there was anything to hand over"
    assert compare(in_order, [merged, A]).missing == [alias]
    assert compare(in_order, [alias, merged]).missing == [A]
    assert compare([alias, merged, A, OUT], [alias, merged, A]).extra == [A]
