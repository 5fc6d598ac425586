"""The console in a real browser: every page, by keyboard, in both languages and colours, and what axe says of it.

RTCDP_SCREENSHOTS=FOLDER keeps pictures of the pages.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rtcdp import outputs
from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import DeadDelivery, Delivery, Enable, Outcome, Retry, decode_command, encode
from rtcdp.dlq import messages
from rtcdp.errors import Unfit
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.monitoring.metrics import now_ms
from rtcdp.outputs import Origin
from rtcdp.privacy import splitting
from rtcdp.privacy.splitting import Apart
from rtcdp.serving.api.tokens import ROLES
from rtcdp.times import timestamps
from tests.serving.api.conftest import Served, logged
from tests.worker.conftest import wait_for

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"
PAGES = {
    "overview": "Overview",
    "segments/buyers": "Segments",
    "profile/user_id/u3": "Profile",
    "triggers/thanks": "Triggers",
    "deliveries/chat": "Deliveries",
    "definitions": "Definitions",
    "letters": "Dead letters",
    "audit": "Audit",
}
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}"


@pytest.fixture(scope="module")
def shop(served: Served) -> Served:
    """A day of orders, and some dead letters."""
    dice = random.Random(1)
    now = now_ms()
    ages = sorted((int(dice.random() ** 1.5 * 80_000_000) + 60_000 for _ in range(160)), reverse=True)
    served.log.send(
        *(
            {
                "type": "track",
                "event": "Order Completed",
                "userId": f"u{dice.randrange(60)}",
                "timestamp": timestamps.render(now - age),
            }
            for age in ages
        )
    )
    served.log.traits("u3", name="王小明", email="wang@example.com", city="上海")
    logged(served, *(("main", f"past{number}") for number in range(3) for _ in range(1 + number)))
    for number, reason in enumerate(["malformed_json", "violation", "violation"]):
        origin = Origin(topic=served.settings.sources[0].topic, partition=0, offset=100 + number)
        letter = dead_letter(Unfit(reason, "price: expected a number", "properties.price"), origin, None, b"{", now, 1_000_000)
        key, value = record(letter)
        served.log.raw(served.settings.events_dlq, key, value)
    deliveries(served)
    wait_for(lambda: served.ask("/v1/profiles/email/wang@example.com").status == 200, what="the last profile")
    wait_for(lambda: served.ask("/v1/triggers").json["triggers"][0]["sent"] > 50, what="the triggers")
    return served


def deliveries(served: Served) -> None:
    """What a deliverer that has worked for a while publishes: figures of three destinations, and what was given up."""
    told, now = served.deliverer, now_ms()
    one = Delivery(
        id="d_thanks", subscription="thanks", destination="crm", body="{}", profile="main/user_id:u3", kind="trigger",
        name="thanks", seq=1, at=timestamps.rfc3339(now), made=now - 400,
    )  # fmt: skip
    for name, count in {"crm": 212, "chat": 12, "bi": 340}.items():
        for _ in range(count):
            told.attempted(name, Attempt(Verdict.DELIVERED))
            told.ended(msgspec.structs.replace(one, destination=name), Outcome.DELIVERED, now)
    for number in range(4):
        reason: Any = "gone" if number else "exhausted"
        dead = msgspec.structs.replace(one, id=f"d{number}_chat", destination="chat", attempts=10, error="503 <b>")
        told.attempted("chat", Attempt(Verdict.AGAIN))
        told.ended(dead, Outcome.FAILED, now)
        told.dead("chat", reason)
        letter = DeadDelivery(reason=reason, at=timestamps.rfc3339(now), delivery=dead)
        served.log.raw(served.settings.deliveries_dlq, dead.profile.encode(), encode(letter))
    told.lane("crm", 37, held=True, disabled=False)
    told.lane("chat", 0, held=True, disabled=True)
    told.lane("bi", 2, held=False, disabled=False)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser: Browser, shop: Served) -> Iterator[tuple[Page, list[str]]]:
    """A tab that tests use one after the other, and what went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en", timezone_id="UTC")
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(shop.address) else wrong.append(request.url))
    yield page, wrong
    context.close()


@pytest.fixture
def page(tab: tuple[Page, list[str]], shop: Served) -> Iterator[Page]:
    """A page as if just opened: it has the token, and must not write an error to its console or ask another server."""
    page, wrong = tab
    wrong.clear()
    page.goto(f"{shop.address}/#token={shop.text}")
    expect(page.locator("h1")).to_have_text("Overview")
    yield page
    page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.goto("about:blank")
    assert [text for text in wrong if not text.startswith("data:")] == []


def picture(page: Page, name: str) -> None:
    folder = os.environ.get("RTCDP_SCREENSHOTS")
    if folder:
        page.evaluate("document.getElementById('said').textContent = ''")
        page.wait_for_timeout(300)  # charts are drawn a moment after their place is there
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def violations(page: Page) -> list[str]:
    found: Any = page.evaluate(f"axe.run(document, {RULES})")
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


@pytest.mark.timeout(180)  # twelve pages, looked at by axe
def test_every_page_in_light_and_dark_is_accessible(page: Page, shop: Served) -> None:
    page.evaluate(AXE.read_text("utf-8"))
    for theme in ("light", "dark"):
        for path, heading in PAGES.items():
            page.goto(f"{shop.address}/#/{path}")
            expect(page.locator("h1")).to_have_text(heading)
            expect(page.locator("main .card").first).to_be_visible()
            expect(page.get_by_text("Loading…")).to_have_count(0)
            assert violations(page) == [], (theme, path)
            picture(page, f"console-{path.partition('/')[0]}{'-dark' if theme == 'dark' else ''}")
        page.get_by_role("button", name="Dark or light").click()


def test_every_page_fits_a_telephone(page: Page, shop: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        for path, heading in PAGES.items():
            page.goto(f"{shop.address}/#/{path}")
            expect(page.locator("h1")).to_have_text(heading)
            expect(page.locator("main .card").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
            picture(page, f"telephone-{path.partition('/')[0]}")
    finally:
        page.set_viewport_size({"width": 1280, "height": 900})


def test_the_token_is_asked_for_and_leaves_the_address(browser: Browser, shop: Served) -> None:
    page = browser.new_context(locale="en").new_page()
    page.goto(shop.address)
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill(shop.text)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Overview")
    assert shop.text not in page.url
    page.context.close()


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Segments")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Segments")
    expect(page.locator("main")).to_be_focused()
    expect(page.get_by_role("link", name="Segments")).to_have_attribute("aria-current", "page")


def test_in_chinese(page: Page, shop: Served) -> None:
    page.get_by_role("button", name="中文").click()
    expect(page.locator("h1")).to_have_text("概览")
    assert page.locator("html").get_attribute("lang") == "zh"
    page.goto(f"{shop.address}/#/profile/email/wang@example.com")
    expect(page.get_by_text("王小明")).to_be_visible()
    picture(page, "console-profile-zh")
    keys = page.evaluate("import('/text.js').then((words) => words.keys)")
    assert sorted(keys["en"]) == sorted(keys["zh"])


def test_why_triggers_were_not_sent_is_said_in_words(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/triggers/thanks")
    expect(page.get_by_text("− over its cap")).to_be_visible()
    listed = re.search(r"for decisions: ([a-z_,\s]+)\.", outputs.Change.__doc__ or "")
    assert listed is not None
    reasons = re.split(r",\s+", listed[1])
    assert len(reasons) == 14
    page.evaluate("import('/text.js').then((text) => text.setLanguage('zh'))")
    words = page.evaluate("reasons => import('/text.js').then((text) => reasons.map(text.notSentFor))", reasons)
    assert not set(words) & set(reasons), "each has a word"
    assert page.evaluate("import('/text.js').then((text) => text.notSentFor('of tomorrow'))") == "of tomorrow"


def test_why_a_membership_holds(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/profile/user_id/u3")
    expect(page.get_by_text("by default").first).to_be_visible()
    why = page.get_by_role("button", name="Why?").first
    why.click()
    expect(why).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_text("orders >= 1").first).to_be_visible()


def test_who_is_whose_is_drawn(page: Page, shop: Served) -> None:
    shop.log.send(
        {"type": "identify", "userId": "u3", "anonymousId": "a-17", "messageId": "said-1"},
        {"type": "identify", "userId": "u3", "traits": {"phone": "+8613800138000"}, "messageId": "said-2"},
    )
    wait_for(lambda: len(shop.ask("/v1/profiles/user_id/u3").json["identifiers"]) == 3, what="the links")
    page.goto(f"{shop.address}/#/profile/user_id/u3")
    drawn = page.get_by_role("img", name="user_id:u3: ")
    expect(drawn).to_be_visible()
    expect(drawn.locator("circle")).to_have_count(4)
    expect(drawn.get_by_text("anonymous_id:a-17")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_text("anonymous_id:a-17", exact=True))
    expect(row).to_contain_text("said-1")
    picture(page, "console-identities")
    page.evaluate(AXE.read_text("utf-8"))
    page.goto(f"{shop.address}/#/profile/email/wang@example.com")
    expect(drawn).to_be_visible()
    assert violations(page) == []


def test_an_identifier_that_is_not_theirs_is_split_off(page: Page, shop: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    def split(_settings: Any, key: str, identifier: str, **_: str) -> Apart:
        said.append((key, identifier))
        return Apart(person=key, request="r", identifier=identifier, other=identifier, events=[3, 1])

    monkeypatch.setattr(splitting, "split", split)
    page.goto(f"{shop.address}/#/profile/user_id/u3")
    asked: list[str] = []
    button = page.get_by_role("button", name="Not theirs: email:wang@example.com")
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    button.click()
    page.once("dialog", lambda dialog: dialog.accept())
    button.click()
    expect(page.get_by_text("They are two now.")).to_be_visible()
    assert said == [("main/user_id:u3", "main/email:wang@example.com")], "only once somebody has said yes"
    assert asked == ["Take email:wang@example.com out of user_id:u3? Both become what they would be without it, for good."]


def test_what_happens_is_seen_live(page: Page, shop: Served) -> None:
    before = set(shop.server.live._streams)  # streams of pages that are gone end with their next record
    page.reload()
    expect(page.get_by_text("Waiting for something to happen…")).to_be_visible()
    wait_for(lambda: set(shop.server.live._streams) - before, what="the stream")
    order = {"type": "track", "event": "Order Completed", "timestamp": timestamps.render(now_ms())}
    shop.log.send(*({**order, "userId": f"u{number}"} for number in (61, 12, 62, 33, 63)))
    expect(page.locator(".live").get_by_text("→ buyers")).to_have_count(3)
    picture(page, "console-overview")
    shop.log.orders("<img src=x>")
    expect(page.locator(".live").get_by_text("→ buyers")).to_have_count(4)
    expect(page.locator(".live").get_by_text("user_id:<img src=x>").first).to_be_visible()
    shop.log.commit([], gone=("main/user_id:<img src=x>",))


def test_a_draft_is_checked_before_it_can_be_put_in_force(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/definitions")
    expect(page.get_by_role("button", name="Put in force")).to_be_disabled()
    page.get_by_label("Draft").fill("segments: {a: ordrs >= 1}")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("1 errors")).to_be_visible()
    expect(page.get_by_role("button", name="Put in force")).to_be_disabled()
    page.get_by_role("button", name="Edit these").click()
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text(f"No errors · {shop.log.definitions.version}")).to_be_visible()
    expect(page.get_by_role("button", name="Put in force")).to_be_enabled()


def test_a_draft_is_proposed_approved_and_put_in_force(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/definitions")
    page.get_by_role("button", name="Edit these").click()
    expect(page.get_by_role("button", name="Propose")).to_be_disabled()
    page.get_by_role("button", name="Check").click()
    page.get_by_label("Note").fill("春季活动 <b>")
    page.get_by_role("button", name="Propose").click()
    version = shop.log.definitions.version
    row = page.get_by_role("row").filter(has=page.get_by_text(version, exact=True))
    expect(row).to_contain_text("春季活动 <b>")
    expect(row).to_contain_text("draft")
    page.get_by_role("button", name=f"Approve: {version}").click()
    expect(row).to_contain_text("all: Approve")
    page.evaluate(AXE.read_text("utf-8"))
    assert violations(page) == []
    picture(page, "console-definitions")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Put in force: {version}").click()
    expect(row).to_contain_text("published")
    page.get_by_role("button", name=f"Show: {version}").click()
    expect(page.get_by_label("Draft", exact=True)).to_have_value(re.compile("buyers"))


def test_a_text_is_tested_on_the_past(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/definitions")
    page.get_by_role("button", name="Edit these").click()
    text = page.get_by_label("Draft", exact=True)
    text.fill(text.input_value().replace("orders >= 3", "orders >= 2"))
    page.get_by_label("How far back").select_option("1")
    page.get_by_role("button", name="Test on the past").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="loyal", exact=True))
    expect(row.get_by_role("cell").nth(1)).to_have_text("1", timeout=30_000)
    expect(row.get_by_role("cell").nth(2)).to_have_text("2")
    expect(row.get_by_role("link", name="user_id:past1")).to_be_visible()
    expect(page.get_by_role("img", name="In force: ")).to_be_visible()
    page.evaluate(AXE.read_text("utf-8"))
    assert violations(page) == []
    picture(page, "console-backtest")


def test_a_destination_is_turned_on_and_what_was_given_up_delivered_again(page: Page, shop: Served) -> None:
    page.goto(f"{shop.address}/#/deliveries/chat")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="crm"))
    for text in ("left alone for now", "37", "212", "0.40 s"):
        expect(row).to_contain_text(text)
    expect(page.get_by_text("503 <b>").first).to_be_visible()
    page.get_by_role("button", name="Turn on: chat").click()
    expect(page.get_by_text("Turned on: chat")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Send again: chat, gone").click()
    expect(page.get_by_text("Delivered again soon: 3")).to_be_visible()
    sent = [decode_command(message.value() or b"") for message in messages(shop.settings, shop.settings.delivery_commands)]
    assert Enable(destination="chat") in sent
    assert sorted(one.delivery.id for one in sent if isinstance(one, Retry)) == ["d1_chat", "d2_chat", "d3_chat"]


def test_who_read_whom_is_found_by_the_identifier(page: Page, shop: Served) -> None:
    shop.client("profiles", name="inquisitive")("/v1/profiles/user_id/u3?tenant=eu")
    page.goto(f"{shop.address}/#/profile/user_id/u3")
    expect(page.get_by_text("user_id:u3").first).to_be_visible()
    page.goto(f"{shop.address}/#/audit")
    expect(page.get_by_text("inquisitive").first).to_be_visible()
    page.get_by_label("Profile").fill("user_id:u3")
    page.keyboard.press("Enter")
    expect(page.get_by_text("inquisitive")).to_have_count(0)
    expect(page.locator("tbody tr").first).to_contain_text("main/user_id:~")
    picture(page, "console-audit")


def test_whoever_may_not_see_people_sees_the_rest(page: Page, shop: Served) -> None:
    token = shop.client(*ROLES["read-masked"], name="analyst").token
    page.evaluate("token => sessionStorage.setItem('token', token)", token)
    page.goto(f"{shop.address}/#/profile/email/wang@example.com")
    expect(page.get_by_text("***").first).to_be_visible()
    expect(page.get_by_text("王小明")).to_have_count(0)
    expect(page.get_by_text("main/user_id:~").first).to_be_visible()
    page.goto(f"{shop.address}/#/segments/buyers")
    expect(page.get_by_text("user_id:~").first).to_be_visible()
    expect(page.get_by_text("user_id:u")).to_have_count(0)
    picture(page, "console-segments-masked")
    page.goto(f"{shop.address}/#/overview")
    expect(page.locator("main .card").first).to_be_visible()
    expect(page.get_by_text("≥").first).to_be_visible()
    picture(page, "console-overview-masked")


def test_pages_are_served_with_a_policy_and_nothing_else_is(shop: Served) -> None:
    ask = shop.ask
    page = ask("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert ask("/vendor/uplot.LICENSE").body.startswith(b"The MIT License")
    for path in ("/../main.py", "/%2e%2e/__init__.py", "/..%2f__init__.py", "/static", "/vendor"):
        assert ask(path).status == 404, path
