from __future__ import annotations

import pytest

from rtcdp.transport.app import App
from rtcdp.worker.profiles.table import NAME, ProfileTable


def test_table_shows_the_partitions_that_are_held() -> None:
    app = App("app", {"bootstrap.servers": "127.0.0.1:1"})
    table = ProfileTable(app, name=NAME, key_type=bytes, value_type=bytes)
    app.tables.add(table)
    table.partitions_held[1] = {b"a": b"1"}
    table.partitions_held[4] = {b"b": b"2", b"c": b"3"}
    assert (len(table.data), table.data[b"c"], set(table.data)) == (3, b"3", {b"a", b"b", b"c"})
    assert table.changelog_topic.get_topic_name() == "app-profiles-changelog"
    with pytest.raises(TypeError, match="fold"):
        table.data[b"x"] = b"1"
    del table.partitions_held[4]
    assert set(table.data) == {b"a"}
    with pytest.raises(KeyError):
        table.data[b"b"]
