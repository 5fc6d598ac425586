"""Folders of destinations: what is read, and what is wrong with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcdp.delivery.destinations import RETRIES, Rate
from rtcdp.delivery.loading import load
from rtcdp.errors import DefinitionErrors

EXAMPLES = Path(__file__).parents[2] / "examples" / "destinations"


def errors(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "d.yaml").write_text(text, "utf-8")
    with pytest.raises(DefinitionErrors) as caught:
        load(tmp_path)
    return [str(error) for error in caught.value.errors]


def test_everything_that_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TOKEN", "token-from-env")
    (tmp_path / "key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    (tmp_path / "d.yaml").write_text("""
destinations:
  crm:
    url: https://crm.example.com/v1/{user_id}?list={payload.list}
    method: PUT
    headers: {Authorization: "Bearer ${env:CRM_TOKEN}"}
    secrets: ["${file:key}"]
    accept: answer.ok and status == 200
    refused: [400, 404]
    timeout: 3s
    concurrency: 4
    rate: {times: 20, per: 1m}
    retries: [1s, 1m]
subscriptions:
  one: {to: crm, triggers: [a, b], tags: "*", where: payload.price >= 100, expire: 2d, historical: true, outcomes: false}
""")
    outlets = load(tmp_path)
    crm = outlets.destinations["crm"]
    assert crm.method == "PUT"
    assert crm.headers == {"Authorization": "Bearer token-from-env"}
    assert len(crm.secrets[0]) == 24
    assert (crm.refused, crm.timeout, crm.concurrency) == (frozenset({400, 404}), 3_000, 4)
    assert (crm.rate, crm.retries) == (Rate(20, 60_000), (1_000, 60_000))
    assert crm.templated
    assert crm.filled(["a%2Fb", "7"]) == "https://crm.example.com/v1/a%2Fb?list=7"
    with pytest.raises(ValueError, match="2 expressions"):
        crm.filled(["a"])
    (one,) = outlets.subscriptions
    assert one.selected == {("trigger", "a"), ("trigger", "b"), ("tag", "*")}
    assert (one.expire, one.historical, one.outcomes) == (2 * 86_400_000, True, False)
    assert outlets.selecting("tag", "any") == [one]
    assert outlets.selecting("trigger", "c") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("destinations: {a: {}}", "d.yaml:1:16: the destination 'a' needs exactly one of url, apprise, file"),
        ("destinations: {a: {url: ftp://x/}}", "d.yaml:1:25: an address of the form https://HOST/PATH is expected"),
        ("destinations: {a: {url: 'https://{user_id}.x/'}}", "an address of the form https://HOST/PATH is expected"),
        ("destinations: {a: {url: 'https://x{user_id}/'}}", "the host must not depend on the record"),
        ("destinations: {a: {url: 'https://u:p@x/'}}", "(user and password belong into the header Authorization)"),
        ("destinations: {a: {url: 'https://x/{usr_id}'}}", "d.yaml:1:37: unknown name 'usr_id'"),
        ("destinations: {a: {url: 'https://x/${file:none}'}}", "the secret file:none cannot be read: No such file"),
        ("destinations: {a: {url: https://x/, secrets: abc}}", "a Standard Webhooks secret is whsec_ and 24 to 64 bytes"),
        ("destinations: {a: {url: https://x/, sign: feishu}}", "there is nothing to sign with"),
        ("destinations: {a: {url: https://x/, headers: {Host: y}}}", "'Host' cannot be a header here"),
        ('destinations: {a: {url: https://x/, headers: {X: "a\\r\\nB: c"}}}', "a header's text has no control characters"),
        ("destinations: {a: {url: https://x/, timeout: 5m}}", "the timeout is at most 120s"),
        ("destinations: {a: {url: https://x/, refused: 200}}", "an HTTP status from 400 to 599 is expected"),
        ("destinations: {a: {url: https://x/, retrys: 1s}}", "unknown option 'retrys'"),
        ("destinations: {a: {file: x, method: PUT}}", "'method' belongs to a destination with 'url'"),
        ("subscriptions: {a: {to: crm, triggers: b}}", "d.yaml:1:25: there is no destination 'crm'"),
        ("destinations: {c: {file: x}}\nsubscriptions: {a: {to: c}}", "d.yaml:2:17: the subscription 'a' selects nothing"),
        ("destinations: {c: {file: x}}\nsubscriptions:\n  a: {to: c, tags: t, where: knd == 'tag'}",
         "d.yaml:3:30: unknown name 'knd'"),
        ("destinations: {c: {file: x}}\nsubscriptions:\n  a: {to: c, tags: t, body: {x: 'ab {old'}}",
         "d.yaml:3:37: '{' opens an expression that '}' does not close"),
        ("destinations: {'a b': {file: x}}", "d.yaml:1:17: 'a b' cannot be a name"),
        ("callbacks: {c: {}}", "the callback 'c' needs either 'secrets' or 'token'"),
        ("destination: {}", "unknown section 'destination'"),
        ("destinations: {a: {url: [x}", "this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in error for error in found), found


def test_a_folder_without_files_and_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors, match=r"holds no \.yaml file"):
        load(tmp_path)
    (tmp_path / "a.yaml").write_text("destinations: {c: {file: x}}")
    (tmp_path / "b.yaml").write_text("destinations: {c: {file: y}}")
    with pytest.raises(DefinitionErrors, match=r"b.yaml:1:16: 'c' is written twice \(first in a.yaml:1:16\)"):
        load(tmp_path)


def test_the_examples_load() -> None:
    outlets = load(EXAMPLES, secrets=False)
    assert {"hubspot", "mailchimp", "slack", "feishu", "dingtalk", "wecom", "crm", "email", "bi"} <= set(outlets.destinations)
    assert {subscription.to for subscription in outlets.subscriptions} == set(outlets.destinations)
    assert outlets.destinations["crm"].retries == RETRIES


def test_answers_are_selected_by_purpose_and_channel(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("""
destinations: {broker: {url: https://broker.example.com}}
subscriptions: {no_sale: {to: broker, consents: [sale, "@email"], where: new == false}}
""")
    found = load(tmp_path)
    assert [one.name for one in found.selecting("consent", "sale")] == ["no_sale"]
    assert [one.name for one in found.selecting("consent", "@email")] == ["no_sale"]
    assert found.selecting("consent", "marketing") == []
