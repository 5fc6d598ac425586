"""Secrets in events: what must not be stored, found by the name of a field or by the shape of a value.

Found by name: passwords, keys, tokens of a login, card verification codes, numbers of identity papers.
Found by shape: payment card numbers (issuer, length, Luhn), Chinese resident identity numbers (region, date, checksum),
values of secret parameters in a URL. A removal never makes a text longer and leaves nothing to remove.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any

REMOVED = "[removed]"
SHORTEST_NUMBER = 13
"""Digits of the shortest number that is looked for: a text without such a run of digits holds none."""

_SEPARATORS = str.maketrans("", "", "_-. \u00a0\u3000")
# Anywhere in the name of a field (letters and digits only, lower case).
_NAME_PARTS = re.compile(
    "password|passwd|passphrase|privatekey|secretkey|accesskey|apikey|clientsecret|cardnumber|cardno$|socialsecurity"
    "|nationalid|identitycard|passportn|密码|口令|身份证|银行卡号|信用卡号|社会安全"
)
_NAME_WORDS = """
    pass pwd passcode pin cardpin otp onetimecode secret appsecret token authtoken accesstoken refreshtoken idtoken
    sessiontoken bearertoken csrftoken xsrftoken jwt authorization authorisation cookie setcookie credential credentials
    cvv cvv2 cvc cvc2 ssn idcard idcardno idcardnumber shenfenzheng sfz ccnumber ccnum creditcard debitcard
"""
_NAMES = frozenset(_NAME_WORDS.split())
# `?token=...` in a URL: links for signing in and for setting a new password.
_PARAMETER = re.compile(
    r"(?i)(?<![A-Za-z0-9])((?:[a-z]+[_-]?)?(?:password|passwd|pwd|secret|token|api[_-]?key)=)[^&\s#;\"'<>,)]+"
)
PARAMETER_NAMES = (b"password=", b"passwd=", b"pwd=", b"secret=", b"token=", b"key=")
"""One of these, in lower case, is in every text that holds a secret parameter."""

_DIGIT = "0-9\uff10-\uff19"  # full-width digits too: Chinese and Japanese keyboards make them
_D = f"[{_DIGIT}]"
_GAP = "[ \\-\u00a0\u2010-\u2015\u3000]"
# Not inside a longer number, word, hexadecimal text or phone number. Groups as they are printed on cards.
_LONG_NUMBER = re.compile(rf"{_D}(?:{_GAP}?{_D}){{{SHORTEST_NUMBER - 1}}}")
_CARD = re.compile(
    rf"(?<![{_DIGIT}.+A-Za-z_])(?:{_D}{{13,19}}|{_D}{{4}}(?:{_GAP}{_D}{{4}}){{3}}(?P<last>{_GAP}{_D}{{3}})?"
    rf"|{_D}{{4}}{_GAP}{_D}{{6}}{_GAP}{_D}{{4,5}})(?![{_DIGIT}A-Za-z_])"
)
_NATIONAL_ID = re.compile(rf"(?<![{_DIGIT}.+A-Za-z_]){_D}{{17}}[{_DIGIT}Xx\uff38\uff58](?![{_DIGIT}A-Za-z_])")
_NARROW = {0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF38: "X", 0xFF58: "X"}
_PROVINCES = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91"
_REGIONS = frozenset(_PROVINCES.split())
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_ID_CHECKS = "10X98765432"
# Issuer ranges (ISO/IEC 7812): first digits, as text ranges of equal length, and the lengths issued.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),  # American Express
    ("300", "305", frozenset({14})),  # Diners Club
    ("36", "36", frozenset({14})),  # Diners Club
    ("38", "39", frozenset({14, 16})),  # Diners Club
    ("3528", "3589", frozenset({16})),  # JCB
    ("6011", "6011", frozenset({16, 19})),  # Discover
    ("644", "659", frozenset({16, 19})),  # Discover
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("2200", "2204", frozenset({16})),  # Mir
    ("5018", "5018", frozenset({16, 18, 19})),  # Maestro
    ("5020", "5020", frozenset({16, 18, 19})),  # Maestro
    ("5038", "5038", frozenset({16, 18, 19})),  # Maestro
    ("6304", "6304", frozenset({16, 18, 19})),  # Maestro
    ("6759", "6763", frozenset({16, 18, 19})),  # Maestro
)


def secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret. Case, `_`, `-`, `.` and spaces do not count."""
    plain = name.casefold().translate(_SEPARATORS)
    return plain in _NAMES or _NAME_PARTS.search(plain) is not None


def card_number(digits: str) -> bool:
    """Whether 13 to 19 ASCII digits are a payment card number: an issuer's range, its length, and the Luhn checksum.

    With 13 and 14 digits a valid article number (EAN-13, GTIN-14) is none: those are far more common.
    """
    if not any(len(digits) in lengths and low <= digits[: len(low)] <= high for low, high, lengths in _ISSUERS):
        return False
    if len(digits) <= 14 and _article_number(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def national_id(text: str) -> bool:
    """Whether 18 characters are a Chinese resident identity number (GB 11643-1999)."""
    if len(text) != 18 or text[:2] not in _REGIONS:
        return False
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    if not 1800 <= born.year < 2100:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, text, strict=False))
    return _ID_CHECKS[total % 11] == text[17].upper()


def clean_text(text: str, fixes: Counter[str]) -> str:
    """`text` without card numbers, identity numbers (both `[removed]`) and values of secret URL parameters."""
    if len(text) < 5:
        return text

    def identity(match: re.Match[str]) -> str:
        if not national_id(_ascii_digits(match[0])):
            return match[0]
        fixes["secret_national_id"] += 1
        return REMOVED

    def card(match: re.Match[str]) -> str:
        last = match["last"] or ""  # of a card with 19 digits; or the verification code behind one with 16
        digits = re.sub("[^0-9]", "", _ascii_digits(match[0]))
        if not card_number(digits) and not (last and card_number(digits[:-3])):
            return match[0]
        fixes["secret_card"] += 1
        return REMOVED

    def parameter(match: re.Match[str]) -> str:
        fixes["secret_parameter"] += 1
        return match[1]

    clean = _PARAMETER.sub(parameter, text) if "=" in text else text
    if len(clean) >= SHORTEST_NUMBER:
        clean = _CARD.sub(card, _NATIONAL_ID.sub(identity, clean))
    return text if clean == text else clean


def suspicious(text: str) -> bool:
    """Whether `clean_text` might change a text; False is certain. Faster than to try."""
    if len(text) < 5:
        return False
    return ("=" in text and _PARAMETER.search(text) is not None) or (
        len(text) >= SHORTEST_NUMBER and _LONG_NUMBER.search(text) is not None
    )


def secret_number(number: float) -> str:
    """The name of the secret that a number is (`secret_card`, `secret_national_id`), or an empty text."""
    if not 10**12 <= number < 10**19 or number != int(number):
        return ""
    digits = str(int(number))
    if card_number(digits):
        return "secret_card"
    return "secret_national_id" if national_id(digits) else ""


def remove(value: dict[str, Any], allowed: AbstractSet[str], fixes: Counter[str], path: str = "") -> dict[str, Any]:
    """`value` without secrets, in any nesting; the same object where it holds none.

    allowed: names or dotted paths (`card_hint`, `payment.token`) that are let through whole.
    path:    where `value` lies (`properties`), "" for the whole.
    fixes:   counts by kind: secret_field, secret_card, secret_national_id, secret_parameter.
    """
    kept: dict[str, Any] = {}
    changed = False
    for name, item in value.items():
        place = f"{path}.{name}" if path else name
        if name in allowed or place in allowed or place.partition(".")[2] in allowed:
            kept[name] = item
            continue
        if item is not None and type(item) is not bool and secret_name(name):
            fixes["secret_field"] += 1
            changed = True
            continue
        clean = _remove_value(item, allowed, fixes, place)
        changed = changed or clean is not item
        if clean is not _GONE:
            kept[name] = clean
    return kept if changed else value


_GONE: Any = object()


def _remove_value(item: Any, allowed: AbstractSet[str], fixes: Counter[str], path: str) -> Any:
    """The value without secrets; `_GONE` where nothing of it may stay."""
    kind = type(item)
    if kind is str:
        return clean_text(item, fixes)
    if kind is dict:
        return remove(item, allowed, fixes, path)
    if kind is list:
        items = [_remove_value(each, allowed, fixes, path) for each in item]
        if all(new is old for new, old in zip(items, item, strict=True)):
            return item
        return [each for each in items if each is not _GONE]
    if kind is int or kind is float:
        found = secret_number(item)
        if found:
            fixes[found] += 1
            return _GONE
    return item


def _article_number(digits: str) -> bool:
    """GS1 check digit: weights 3 and 1 in turn, from the right, the check digit itself with 1."""
    return sum(int(digit) * (3 if place & 1 else 1) for place, digit in enumerate(reversed(digits))) % 10 == 0


def _ascii_digits(text: str) -> str:
    """Full-width digits and X as ASCII."""
    return text if text.isascii() else text.translate(_NARROW)
