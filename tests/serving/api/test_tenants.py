"""One deployment, several brands: whatever one does, another neither sees nor feels it."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity.cluster import Cluster

from rtcdp import outputs
from rtcdp.errors import Unfit
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.monitoring.metrics import now_ms
from rtcdp.outputs import Origin
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load
from rtcdp.sinks.redis_keys import Keys
from tests.serving.api.conftest import DEFINITIONS, Client, Served
from tests.worker.conftest import wait_for

TENANTS = ("main", "eu")
NAMES = st.sampled_from(["a", "b", "main/user_id:a", "eu/user_id:a", "%2F", "安"])
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "identify"]), "event": st.just("Order Completed")},
    optional={
        "userId": NAMES,
        "anonymousId": NAMES,
        "messageId": st.sampled_from(["m1", "m2", "m3"]),
        "traits": st.fixed_dictionaries({"email": st.sampled_from(["a@x.com", "b@x.com"])}),
    },
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "d.yaml").write_text(DEFINITIONS, "utf-8")
    return compile_definitions(load(folder))


def folded(compiled: Compiled, events: list[tuple[str, dict[str, Any]]]) -> Cluster:
    """Raw events of several tenants, each from its own source, in one log."""
    cluster, plan = Cluster(compiled), compiled.definitions
    ingest = {tenant: Ingestor(plan.tracking, plan.identity, Source(f"{tenant}-events", tenant=tenant)) for tenant in TENANTS}
    offsets = {tenant: itertools.count() for tenant in TENANTS}
    for place, (tenant, event) in enumerate(events):
        at = 1_760_000_000_000 + place * 1_000
        found = ingest[tenant].ingest(outputs.encode(event), f"{tenant}/0", next(offsets[tenant]), at)
        if isinstance(found, Accepted):
            cluster.append(found.key.decode(), found.value)
        while any(cluster.waiting):
            for number in range(len(cluster.waiting)):
                cluster.step(number, 10)
    return cluster


def seen(cluster: Cluster, tenant: str) -> tuple[dict[bytes, bytes], list[bytes], list[bytes]]:
    """All that there is of a tenant: states, changes, triggers."""
    prefix = f"{tenant}/".encode()
    states = {key: value for one in cluster.runners for key, value in one.state.items() if key.startswith(prefix)}
    told = [[record for record in log if b'"' + prefix in record] for log in (cluster.changes, cluster.triggers)]
    return states, *map(sorted, told)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(TENANTS), EVENTS), max_size=25))
def test_a_tenant_is_as_if_it_were_alone(compiled: Compiled, events: list[tuple[str, dict[str, Any]]]) -> None:
    """The same identifiers, message ids and e-mail addresses, in any order: each tenant's part is what it makes by itself."""
    both = folded(compiled, [(tenant, event) for tenant, event in events])
    for tenant in TENANTS:
        pause = [(whose, event if whose == tenant else {}) for whose, event in events]  # its events come when they came
        assert seen(both, tenant) == seen(folded(compiled, pause), tenant)
    keys = {key.partition(b"/")[0].decode() for one in both.runners for key in one.state if not key.startswith(b"~")}
    assert keys <= set(TENANTS)


def test_the_property_can_fail(compiled: Compiled) -> None:
    """The control: in one tenant the same people do meet."""
    events = [("main", {"type": "track", "event": "Order Completed", "userId": "a"})] * 2
    assert seen(folded(compiled, events), "main") != seen(folded(compiled, [*events[:1], ("main", {})]), "main")


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z0-9_-]{1,4}", fullmatch=True), st.text(":/|~ab", min_size=1, max_size=4)),
        min_size=2,
        max_size=2,
        unique_by=lambda one: one[0],
    )
)
def test_no_name_in_redis_is_of_two_tenants(pair: list[tuple[str, str]]) -> None:
    keys = Keys("app")

    def names(tenant: str, name: str) -> set[str]:
        key = f"{tenant}/user_id:{name}"
        per_profile = {keys.profile(key), keys.recent(key), keys.offers(key), keys.identifier(tenant, f"email:{name}")}
        return per_profile | {keys.segment(tenant, name), keys.stage(tenant, name), keys.flow(tenant, 300_000, 0)}

    (one, name), (other, another) = pair
    assert not names(one, name) & names(other, another)


@pytest.fixture(scope="module")
def foreign(still: Served) -> Client:
    """A token that may do everything, of another tenant."""
    return still.client("profiles", "personal", "segments", "stream", "letters", "letters:write", "audit", tenants=["eu"])


@pytest.fixture(scope="module")
def secrets(still: Served, foreign: Client) -> tuple[bytes, ...]:
    """What `main` has: people, a page's cursor, a dead letter."""
    letter = dead_letter(
        Unfit("violation", "canary-letter", "x"), Origin(topic=still.settings.sources[0].topic, partition=0, offset=9), None,
        b"{}", now_ms(), 1_000_000,
    )  # fmt: skip
    still.log.raw(still.settings.events_dlq, *record(letter))
    wait_for(lambda: b"canary-letter" in still.ask("/v1/dead-letters").body, what="the letter")
    return b"user_id:ann", b"user_id:bob", b"xample.com", b"canary-letter"


WHERE = st.sampled_from([
    "/v1/profiles/user_id/ann", "/v1/profiles/user_id/ann/now", "/v1/profiles/user_id/ann/timeline",
    "/v1/profiles/user_id/ann/why/loyal", "/v1/profiles/email/ann%40example.com", "/v1/segments", "/v1/segments/buyers/members",
    "/v1/segments/buyers/sizes", "/v1/segments/buyers/overlap", "/v1/flows", "/v1/triggers", "/v1/dead-letters", "/v1/audit",
    "/v1/profiles/user_id/main%2Fuser_id%3Aann", "/v1/profiles/user_id/ann/consent",
])  # fmt: skip
ASKED = st.dictionaries(
    st.sampled_from(["tenant", "cursor", "format", "views", "columns", "limit", "profile", "who"]),
    st.sampled_from(
        ["eu", "main", "", "main/", "eu/../main", "*", "CURSOR", "csv", "ndjson", "true", "5", "main/user_id:a"]
    ),  # nothing that an answer may repeat
    max_size=3,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(WHERE, ASKED)
def test_a_token_of_another_tenant_reads_nobody(
    still: Served, foreign: Client, secrets: tuple[bytes, ...], path: str, asked: dict[str, str]
) -> None:
    cursor = still.ask("/v1/segments/buyers/members?limit=1").json["next"] if "CURSOR" in asked.values() else ""
    query = "&".join(f"{name}={quote(value.replace('CURSOR', cursor))}" for name, value in asked.items())
    reply = foreign(f"{path}?{query}" if query else path)
    assert not [secret for secret in secrets if secret in reply.body], (path, asked)
    if asked.get("tenant") == "main":
        assert reply.status in {400, 403}


def test_who_may_finds_all_of_it(still: Served, secrets: tuple[bytes, ...]) -> None:
    """The control of the property above."""
    paths = ["/v1/profiles/user_id/ann", "/v1/segments/buyers/members?views=true", "/v1/dead-letters"]
    bodies = b"".join(still.ask(path).body for path in paths)
    assert [secret for secret in secrets if secret not in bodies] == []


def test_letters_of_another_tenant_are_not_sent_again(still: Served, foreign: Client, secrets: tuple[bytes, ...]) -> None:
    asked = {"all": True, "dry_run": True}
    assert foreign("/v1/dead-letters/replay", asked).json["sent"] == 0
    assert still.ask("/v1/dead-letters/replay", asked).json["sent"] >= 1


def test_metrics_tell_tenants_apart(still: Served, foreign: Client) -> None:
    foreign("/v1/segments")
    read = still.server.counts.registry.get_sample_value
    assert (read("rtcdp_api_tenant_requests_total", {"tenant": "eu"}) or 0) >= 1
