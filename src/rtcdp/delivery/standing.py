"""How destinations are, from what deliverers tell on their metrics ports. It blocks."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from rtcdp.delivery.measures import OTHER

PATIENCE_S = 3.0
MOST_AT_A_TIME = 16
MOST_BYTES = 16 << 20

State = Literal["on", "held", "off"]
_STATES: tuple[State, ...] = ("on", "held", "off")
"""By the value of `rtcdp_destination_held`."""


class Destination(msgspec.Struct):
    """A destination, over all deliverers since their starts.

    state:    held: left alone for now (no sign of life, 429); off: it said 410.
    waiting:  deliveries that wait or are under way.
    ended:    by outcome: delivered, failed, expired, cancelled. attempts: by verdict. dead: given up, by reason.
    mean_s:   from a record to the end of its delivery, of those delivered (s); None before the first.
    """

    name: str
    state: State = "on"
    waiting: int = 0
    ended: dict[str, int] = {}
    attempts: dict[str, int] = {}
    dead: dict[str, int] = {}
    mean_s: float | None = None


def look(places: Sequence[str]) -> tuple[list[Destination], list[str]]:
    """Every destination by name, and the places that did not answer.

    places: HOST:PORT of metrics; a name with several addresses is several deliverers.
    """
    found: list[tuple[str, str]] = []
    silent = []
    for place in places:
        addresses = _addresses(place)
        found += [(place, address) for address in addresses]
        if not addresses:
            silent.append(place)
    if not found:
        return [], silent
    with ThreadPoolExecutor(min(MOST_AT_A_TIME, len(found))) as pool:
        texts = list(pool.map(_text, [address for _, address in found]))
    silent += [f"{place} ({address})" for (place, address), text in zip(found, texts, strict=True) if text is None]
    return together(text for text in texts if text is not None), silent


def together(texts: Iterable[str]) -> list[Destination]:
    """Every destination, of the metrics of several deliverers."""
    known: dict[str, Destination] = {}
    sums: dict[str, list[float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            _add(family, known, sums)
    for name, (total, count) in sums.items():
        if count and name in known:
            known[name].mean_s = total / count
    known = {name: one for name, one in known.items() if name != OTHER or one.ended or one.attempts or one.dead}
    return [known[name] for name in sorted(known)]


def _add(family: Metric, known: dict[str, Destination], sums: dict[str, list[float]]) -> None:
    for sample in family.samples:
        name = sample.labels.get("destination")
        if name is None or sample.name.endswith("_created"):
            continue
        one = known.setdefault(name, Destination(name))
        value = sample.value
        match sample.name:
            case "rtcdp_deliveries_pending":
                one.waiting += int(value)
            case "rtcdp_destination_held":
                one.state = _STATES[max(_STATES.index(one.state), int(value))]
            case "rtcdp_deliveries_total":
                _count(one.ended, sample.labels, "outcome", value)
            case "rtcdp_delivery_attempts_total":
                _count(one.attempts, sample.labels, "verdict", value)
            case "rtcdp_deliveries_dead_total":
                _count(one.dead, sample.labels, "reason", value)
            case "rtcdp_delivery_latency_seconds_sum":
                sums.setdefault(name, [0.0, 0.0])[0] += value
            case "rtcdp_delivery_latency_seconds_count":
                sums.setdefault(name, [0.0, 0.0])[1] += value


def _count(counts: dict[str, int], labels: Mapping[str, str], label: str, value: float) -> None:
    if value:
        counts[labels[label]] = counts.get(labels[label], 0) + int(value)


def _addresses(place: str) -> list[str]:
    """`http://ADDRESS:PORT/metrics` of everything that the name stands for; none where it cannot be resolved."""
    host, _, port = place.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    hosts = dict.fromkeys(str(one[4][0]) for one in found)
    return [f"{f'[{one}]' if ':' in one else one}:{port}" for one in hosts]


def _text(address: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the cluster's own, never behind a proxy
    try:
        with opener.open(f"http://{address}/metrics", timeout=PATIENCE_S) as answer:
            body: bytes = answer.read(MOST_BYTES)
    except (urllib.error.URLError, OSError):
        return None
    return body.decode("utf-8", "replace")
