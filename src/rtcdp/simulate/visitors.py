"""Who comes to the generated shop: kinds of people, and what one session of each looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from rtcdp.simulate.catalogue import BOT, BROWSER, CAMPAIGNS, PEOPLE, SEARCHES, Product, products

Properties = dict[str, Any]


class Habit(NamedTuple):
    """How a kind of visitor behaves.

    share:  of all new visitors (relative).
    pull:   how often they come back (tickets in the draw of returning visitors).
    leaves: probability of never coming back after a session.
    views:  products looked at in a session, at most.
    adds:   probability that a viewed product goes into the cart.
    buys:   probability that a filled cart is ordered before the session ends.
    signs:  probability of signing in during a session while still anonymous.
    """

    share: int
    pull: int
    leaves: float
    views: int
    adds: float
    buys: float
    signs: float


HABITS = {
    "passer_by": Habit(40, 1, 0.70, 4, 0.04, 0.05, 0.05),
    "window_shopper": Habit(22, 3, 0.10, 9, 0.06, 0.02, 0.30),
    "buyer": Habit(24, 3, 0.12, 6, 0.30, 0.55, 0.70),
    "loyal": Habit(9, 8, 0.02, 5, 0.40, 0.75, 0.90),
    "hesitant": Habit(4, 3, 0.15, 6, 0.45, 0.12, 0.50),
    "bot": Habit(1, 2, 0.30, 60, 0.0, 0.0, 0.0),
}

CHANNELS = ("web", "web", "web", "app", "app", "mini_program", "mini_program", "store")
PRODUCTS = products()
BY_CATEGORY = {
    category: tuple(product for product in PRODUCTS if product.category == category)
    for category in sorted({product.category for product in PRODUCTS})
}
CATEGORY_NAMES = tuple(BY_CATEGORY)


@dataclass(slots=True)
class Visitor:
    """One person, or bot. Everything about them comes from the shop's random numbers."""

    number: int
    kind: str
    anonymous_id: str
    person: tuple[str, str, str]
    taste: tuple[Product, ...]
    user_id: str = ""
    sessions: int = 0
    orders: int = 0
    cart: list[tuple[Product, int]] = field(default_factory=list)
    carts: int = 0

    @property
    def key(self) -> bytes:
        """The record key a tracker would use: one for the person, whoever they are signed in as."""
        return b"visitor-%d" % self.number


class Step(NamedTuple):
    """One thing a visitor does. wait: ms since the last one."""

    wait: int
    type: str
    event: str
    properties: Properties


def new_visitor(random: Random, number: int) -> Visitor:
    """A visitor as they come in for the first time."""
    kind = random.choices(tuple(HABITS), [habit.share for habit in HABITS.values()])[0]
    return Visitor(
        number=number,
        kind=kind,
        anonymous_id=f"a-{random.getrandbits(64):016x}",
        person=PEOPLE[int(random.random() * len(PEOPLE))],
        taste=BY_CATEGORY[CATEGORY_NAMES[int(random.random() * len(CATEGORY_NAMES))]],
    )


def context(random: Random, visitor: Visitor, channel: str) -> Properties:
    """The `context` that every event of a session shares."""
    _, locale, zone = visitor.person
    found: Properties = {"locale": locale, "timezone": zone}
    campaign = CAMPAIGNS[int(random.random() * len(CAMPAIGNS))]
    if campaign:
        found["campaign"] = {"name": campaign, "medium": "social" if campaign == "wechat_moments" else "email"}
    if channel == "web":
        found["userAgent"] = BOT if visitor.kind == "bot" else BROWSER
    elif channel == "store":
        found["store"] = f"store-{visitor.number % 12:02d}"
    else:
        found["app"] = {"name": "shop", "version": "4.2.1"}
        found["device"] = {"id": f"d-{visitor.number:06d}", "model": "Pixel 8"}
    return found


def _about(product: Product) -> Properties:
    return {"sku": product.sku, "name": product.name, "category": product.category, "price": product.price, "currency": "CNY"}


def session(random: Random, visitor: Visitor, channel: str) -> Iterator[Step]:
    """What one visit consists of, step by step. Signing in takes effect with the step that tells of it."""
    habit = HABITS[visitor.kind]
    chance = random.random
    if channel == "store":
        yield from _at_the_till(random, visitor)
        return
    yield Step(0, "track", "Session Started", {"landing": "/" if chance() < 0.6 else "/sale"})
    if channel == "web":
        yield Step(40, "page", "", {"path": "/", "title": "Shop 首页"})
    else:
        yield Step(40, "screen", "", {"name": "Home"})
    if not visitor.user_id and chance() < habit.signs:
        yield from _sign_in(random, visitor)
    if chance() < 0.25:
        yield Step(4_000, "track", "Products Searched", {"query": SEARCHES[int(chance() * len(SEARCHES))]})
    pause = 900 if visitor.kind == "bot" else 24_000
    for _ in range(1 + int(chance() * habit.views)):
        pool = visitor.taste if chance() < 0.65 else PRODUCTS
        product = pool[int(chance() * len(pool))]
        yield Step(500 + int(chance() * pause), "track", "Product Viewed", _about(product))
        if chance() < habit.adds:
            yield _add(random, visitor, product)
    if visitor.cart:
        yield from _checkout(random, visitor, habit)


def _sign_in(random: Random, visitor: Visitor) -> Iterator[Step]:
    name, locale, _ = visitor.person
    visitor.user_id = f"u{visitor.number:06d}"
    new = random.random() < 0.7
    traits = {
        "name": name,
        "email": f"User{visitor.number}@Example.com",
        "language": locale,
        "vip": visitor.kind == "loyal",
        "birthday": f"{1960 + visitor.number % 45}-{1 + visitor.number % 12:02d}-{1 + visitor.number % 28:02d}",
    }
    yield Step(9_000, "identify", "", traits)
    yield Step(200, "track", "Signed Up" if new else "Signed In", {"method": "wechat" if locale.startswith("zh") else "email"})


def _add(random: Random, visitor: Visitor, product: Product) -> Step:
    if not visitor.cart:
        visitor.carts += 1
    quantity = 1 if random.random() < 0.8 else 2
    visitor.cart.append((product, quantity))
    return Step(3_000, "track", "Product Added", {"cart_id": _cart(visitor), "quantity": quantity, **_about(product)})


def _cart(visitor: Visitor) -> str:
    return f"c{visitor.number}-{visitor.carts}"


def _checkout(random: Random, visitor: Visitor, habit: Habit) -> Iterator[Step]:
    chance = random.random
    yield Step(8_000, "track", "Cart Viewed", {"cart_id": _cart(visitor), "items": len(visitor.cart)})
    if visitor.cart and chance() < 0.12:  # the same visitor may have bought it elsewhere in the meantime
        product, _ = visitor.cart.pop()
        yield Step(5_000, "track", "Product Removed", {"cart_id": _cart(visitor), "sku": product.sku})
    if not visitor.cart or chance() >= habit.buys + 0.1:
        return
    yield Step(20_000, "track", "Checkout Started", {"cart_id": _cart(visitor), "step": 1})
    if not visitor.user_id:
        yield from _sign_in(random, visitor)
    if not visitor.cart or chance() >= habit.buys:
        return
    yield from _order(random, visitor, 60_000)


def _order(random: Random, visitor: Visitor, wait: int) -> Iterator[Step]:
    lines = [{**_about(product), "quantity": quantity} for product, quantity in visitor.cart]
    total = round(sum(product.price * quantity for product, quantity in visitor.cart), 2)
    discount = round(total * 0.1, 2) if random.random() < 0.2 else 0.0
    order = {
        "order_id": f"o{visitor.number}-{visitor.orders + 1}",
        "cart_id": _cart(visitor),
        "revenue": round(total - discount, 2),
        "currency": "CNY",
        "products": lines,
    }
    if discount:
        order["coupon"] = "WELCOME10"
    visitor.orders += 1
    visitor.cart = []
    yield Step(wait, "track", "Order Completed", order)
    if random.random() < 0.04:
        yield Step(3_600_000, "track", "Order Refunded", {"order_id": order["order_id"], "revenue": order["revenue"]})


def _at_the_till(random: Random, visitor: Visitor) -> Iterator[Step]:
    """A purchase in a physical store: known by the customer's account, no browsing."""
    if not visitor.user_id:
        yield from _sign_in(random, visitor)
    visitor.carts += 1
    visitor.cart = [(visitor.taste[int(random.random() * len(visitor.taste))], 1)]
    yield from _order(random, visitor, 1_000)
