"""The shop's definitions use the whole language, and the generated shop sets every one of them off."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.names import BUILT_IN_FEATURES
from rtcdp.rules.loading.folder import load
from rtcdp.rules.loading.options import AGGREGATES, STARTS
from rtcdp.rules.sending import steps_of
from rtcdp.simulate.demo import AFTERWARDS_MS, shop_definitions
from rtcdp.simulate.replay import replay
from rtcdp.simulate.shop import Shop


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return load(shop_definitions())


def test_each_construct_is_used(definitions: Definitions) -> None:
    features, triggers = definitions.features.values(), definitions.triggers.values()
    assert {feature.aggregate for feature in features} == set(AGGREGATES)
    options = "within offset during by reset_on current gaps strict restart same spend expire"
    for option in options.split():
        assert any(getattr(feature, option) for feature in features), option
    assert any(step.excluded for feature in features for step in feature.steps)
    assert definitions.derived
    assert any(feature.within for feature in features)
    assert any(feature.where for feature in features)
    assert any(tag.when for tag in definitions.tags.values())
    assert {trigger.on.kind for trigger in triggers} == set(STARTS)
    for part in ("after", "unless", "condition", "payload", "channel", "debounce", "at_most", "one_per", "priority", "steps"):
        assert any(getattr(trigger, part) for trigger in triggers), part
    assert any(trigger.unless and trigger.unless.same for trigger in triggers)
    assert any(trigger.unless and trigger.unless.condition for trigger in triggers)
    assert {trigger.again.kind for trigger in triggers} == {"always", "once", "after", "exited"}
    steps = {type(step).__name__ for trigger in triggers for step in steps_of(trigger.steps)}
    assert steps == {"Send", "Wait", "Await", "Branch", "Split", "Exit"}
    groups, channels = definitions.groups.values(), definitions.channels.values()
    limits = [one.limits for one in (*triggers, *groups, *channels)]
    for part in ("caps", "cooldown", "quiet", "holdout"):
        assert any(getattr(limit, part) for limit in limits), part
    assert any(group.pick == "priority" and group.pause for group in groups)
    assert any(stage.stay for stage in definitions.stages)
    assert definitions.expire.anonymous
    assert definitions.expire.known
    assert any(trigger.on.where for trigger in triggers)
    assert definitions.lists
    assert definitions.tracking.events
    assert definitions.tracking.traits
    assert definitions.identity.namespaces
    assert definitions.identity.blocked


def test_everything_is_described(definitions: Definitions) -> None:
    built_in = set(BUILT_IN_FEATURES)
    own = [one for name, one in definitions.features.items() if name not in built_in]
    for one in (*own, *definitions.tags.values(), *definitions.segments.values(), *definitions.triggers.values()):
        assert one.description, one.name


def test_the_generated_shop_sets_everything_off(definitions: Definitions) -> None:
    shop = Shop()
    seen: Counter[str] = Counter()
    values = [value for _, value in shop.records(12_000)]
    for output in replay(values, definitions, shop.now + AFTERWARDS_MS):
        body = orjson.loads(output.value)
        if output.topic == "profile-changes":
            seen[f"{body['kind']} {body['name']}"] += 1
        elif output.topic == "triggers":
            seen[f"sent {body['data']['trigger']}"] += 1
    expected = {f"entered {name}" for name in definitions.segments} | {f"tag {name}" for name in definitions.tags}
    expected |= {f"sent {name}" for name in definitions.triggers} | {"stage stage"}
    assert expected <= set(seen), expected - set(seen)
