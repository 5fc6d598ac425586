"""Where a replay's events come from."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import orjson
import pytest

from rtcdp.errors import SettingError
from rtcdp.simulate.sources import LogRecord, csv_events, is_csv, json_lines, log_records, open_bytes, write_record

CSV = b'uid,name,at,price,vip,note\r\nu1,View,2025-01-01 10:00:00,3.50,true,\r\n,Buy,2025-01-01 10:00:01,x,no,"a,b"\r\n'


def rows(mapping: str) -> list[dict[str, object]]:
    return [orjson.loads(event) for event in csv_events(io.BytesIO(CSV), mapping)]


def test_columns_become_fields_under_their_segment_names() -> None:
    first, second = rows("user_id=uid,event=name,timestamp=at,messageId=@row")
    assert first == {
        "type": "track",
        "userId": "u1",
        "event": "View",
        "timestamp": "2025-01-01 10:00:00",
        "messageId": "000000001",
    }
    assert second["messageId"] == "000000002"
    assert "userId" not in second, "an empty cell leaves its field out"


def test_numbers_and_booleans_are_made_where_asked_for() -> None:
    first, second = rows("event=name,properties.price:number=price,traits.vip:boolean=vip,properties.text=price")
    assert first["properties"] == {"price": 3.5, "text": "3.50"}
    assert first["traits"] == {"vip": True}
    assert second["properties"] == {"price": "x", "text": "x"}, "what is no number stays text"


def test_the_rest_of_the_columns_and_constants() -> None:
    first, second = rows("event=name,timestamp=at,type='page',channel='import',properties=*")
    assert (first["type"], first["channel"]) == ("page", "import")
    assert first["properties"] == {"uid": "u1", "price": "3.50", "vip": "true"}
    assert second["properties"] == {"price": "x", "vip": "no", "note": "a,b"}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("user=uid", "no field 'user'"),
        ("user_id=nobody", "no column 'nobody'"),
        ("user_id", "is not FIELD=SOURCE"),
        ("properties.price:money=price", "neither number nor boolean"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(mapping: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        rows(mapping)


def test_lines_are_kept_as_they_are_and_empty_ones_skipped() -> None:
    assert list(json_lines(io.BytesIO(b'{"a":1}\r\n\n not json\n{"b":2}'))) == [b'{"a":1}', b" not json", b'{"b":2}']


def test_compressed_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n"))
    with open_bytes(str(path)) as stream:
        assert list(json_lines(stream)) == [b"{}"]
    assert is_csv("a/rows.csv.gz")
    assert not is_csv("a/rows.jsonl.gz")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        open_bytes(str(tmp_path / "none"))


def test_a_recorded_log_comes_back_as_it_was_written() -> None:
    log = [LogRecord(1, 7, "main/user_id:ü", '{"kind":"event", "x":1.0}'), LogRecord(0, 3, None, None)]
    assert list(log_records(write_record(record) + b"\n" for record in log)) == log
    with pytest.raises(SettingError, match="line 1"):
        list(log_records([b"{}"]))
