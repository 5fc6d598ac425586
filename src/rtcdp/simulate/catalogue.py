"""What the generated shop sells, to whom and from where: constants only."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """A thing for sale. price: in CNY, two decimals."""

    sku: str
    name: str
    category: str
    price: float


CATEGORIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "shoes": (399.0, ("Trail Runner 跑鞋", "Canvas Low", "Chelsea Boot", "儿童凉鞋")),
    "electronics": (1299.0, ("Noise-cancelling Headphones", "机械键盘", "65W Charger", "Action Cam ８K")),
    "beauty": (169.0, ("Crème de nuit", "保湿面膜", "Lip Tint", "Sérum à la rose")),
    "home": (229.0, ("Linen Sheet Set", "电饭煲", "Wandregal", "Glass Carafe")),
    "groceries": (49.0, ("龙井茶 250g", "Olive Oil 1L", "Jamón Ibérico", "曲奇 🍪")),
    "toys": (89.0, ("Wooden Train", "拼图 1000 片", "Plush Panda 🐼", "Кубик Рубика")),
    "clothing": (259.0, ("Merino Sweater", "真丝衬衫", "Denim Jacket", "Écharpe")),
    "books": (59.0, ("三体", "The Left Hand of Darkness", "Мастер и Маргарита", "ألف ليلة وليلة")),
}

SIZES = ("S", "M", "L", "XL")


def products() -> tuple[Product, ...]:
    """All products, the same in every run: each name in four variants of rising price."""
    found: list[Product] = []
    for category, (price, names) in CATEGORIES.items():
        for number, name in enumerate(names):
            for step, size in enumerate(SIZES):
                sku = f"{category[:3].upper()}-{number}{size}"
                found.append(Product(sku, f"{name} {size}", category, round(price * (0.6 + 0.3 * number + 0.1 * step), 2)))
    return tuple(found)


PEOPLE = (
    ("王小明", "zh-CN", "Asia/Shanghai"),
    ("李娜", "zh-CN", "Asia/Shanghai"),
    ("陈大文", "zh-HK", "Asia/Hong_Kong"),
    ("Zoë Müller", "de-DE", "Europe/Berlin"),
    ("François Lefèvre", "fr-FR", "Europe/Paris"),
    ("Jose\u0301 Garci\u0301a", "es-ES", "Europe/Madrid"),  # combining accents: cleaned to NFC
    ("さくら 田中", "ja-JP", "Asia/Tokyo"),
    ("Иван Петров", "ru-RU", "Europe/Moscow"),
    ("Mary O'Neil", "en-GB", "Europe/London"),
    ("محمد علي", "ar-EG", "Africa/Cairo"),
)

SEARCHES = ("跑鞋", "gift for dad", "élégant", "充电器 65w", "lego", "无糖 饼干", "чай", "هدية", "sale 50%", "headphones 🎧")

CAMPAIGNS = ("", "", "", "spring_sale", "wechat_moments", "newsletter", "retargeting")

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
BOT = "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example/about)"

# Share of a day's visits that begin in each hour, local time of the shop: quiet nights, lunch, long evenings.
DAY_RHYTHM = (8, 4, 2, 2, 2, 3, 8, 18, 32, 42, 48, 52, 66, 58, 48, 46, 48, 52, 60, 78, 96, 100, 72, 30)
