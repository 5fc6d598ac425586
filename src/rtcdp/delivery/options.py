"""What a folder of destinations may hold: one table that the loader reads by and the JSON Schema is made from."""

from __future__ import annotations

from rtcdp.rules.loading.options import Option

_DESCRIPTION = Option("text", "what it is for, for people")
_PLACES = "`${file:PATH}` and `${env:NAME}` stand for secrets"

KINDS = ("url", "apprise", "file")

DESTINATION: dict[str, Option] = {
    "url": Option("text", f"where to send HTTP requests; {{...}} in path and query are expressions, {_PLACES}"),
    "apprise": Option("text", f"an Apprise address for e-mail, SMS, push or chat; as url. {_PLACES}"),
    "file": Option("text", "a file of NDJSON that is appended to; %Y %m %d %H stand for the time of writing in UTC"),
    "method": Option("choice", "of the HTTP request; POST without it", choices=("POST", "PUT", "PATCH", "DELETE")),
    "headers": Option("special", f"headers of the HTTP request: NAME: text. {_PLACES}", schema="headers"),
    "secrets": Option("texts", f"keys to sign with, the newest first; several while one replaces the other. {_PLACES}"),
    "sign": Option(
        "choice",
        "how to sign with the secrets; standard (Standard Webhooks) without it",
        choices=("standard", "feishu", "dingtalk"),
    ),
    "accept": Option("condition", "what makes a 2xx answer a success; sees status and its JSON: answer.errcode == 0"),
    "refused": Option("texts", "HTTP statuses after which trying again is of no use; 400, 413, 414, 415 and 422 without it"),
    "timeout": Option("duration", "of one attempt, as a whole; 15s without it"),
    "concurrency": Option("whole", "most requests at a time; 16 without it"),
    "rate": Option("special", "at most so many attempts within a rolling time", schema="rate"),
    "retries": Option("texts", "waits before further attempts; 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h without it"),
    "description": _DESCRIPTION,
}
RATE: dict[str, Option] = {
    "times": Option("whole", "how many at most", required=True),
    "per": Option("duration", "within which time", required=True),
}
SELECTIONS: dict[str, tuple[str, ...]] = {
    "triggers": ("trigger",),
    "segments": ("entered", "exited"),
    "tags": ("tag",),
    "stages": ("stage",),
    "decisions": ("not_sent",),
    "consents": ("consent",),
    "erasures": ("erased",),
}
"""What a subscription can select, and the kinds of records that are meant."""

SUBSCRIPTION: dict[str, Option] = {
    "to": Option("text", "the destination", required=True),
    "triggers": Option("texts", 'triggers by name; "*" for all'),
    "segments": Option("texts", 'segments that are entered or left, by name; "*" for all'),
    "tags": Option("texts", 'tags that are set or cleared, by name; "*" for all'),
    "stages": Option("texts", 'changes to a stage, by name; "*" for all'),
    "decisions": Option("texts", 'triggers that were not sent, by name; "*" for all'),
    "consents": Option("texts", 'answers that people gave, by purpose, @CHANNEL or PURPOSE@CHANNEL; "*" for all'),
    "erasures": Option("texts", 'people who were erased, to be erased elsewhere too: "*"'),
    "where": Option("condition", "which of these records are sent on"),
    "body": Option(
        "special", "what is sent: JSON whose texts may hold {expressions}; the whole record without it", schema="body"
    ),
    "expire": Option("duration", "not sent later than this after it happened, beside a trigger's own expires_at"),
    "historical": Option("flag", "also what imported history caused"),
    "outcomes": Option("flag", "what becomes of it is an event of the profile; true for triggers, else false"),
    "description": _DESCRIPTION,
}
CALLBACK: dict[str, Option] = {
    "secrets": Option("texts", f"keys of Standard Webhooks that reports are signed with. {_PLACES}"),
    "token": Option("text", f"text that reports carry as `Authorization: Bearer TEXT`. {_PLACES}"),
    "event": Option("expression", "opened, clicked, bounced, unsubscribed, complained, replied or dropped"),
    "profile": Option("expression", "the profile key as it was sent"),
    "user_id": Option("expression", "or the user's id, in the tenant `main`"),
    "delivery": Option("expression", "the webhook-id as it was sent"),
    "at": Option("expression", "when it happened: RFC 3339, or seconds or milliseconds since 1970"),
    "properties": Option("special", "more properties of the event: NAME: text with {expressions}", schema="body"),
    "description": _DESCRIPTION,
}
SECTIONS: dict[str, str] = {
    "destinations": "where to send",
    "subscriptions": "what is sent there",
    "callbacks": "what tools report back",
}
