"""Find personal data by rules: patterns with their check digits, and names of columns. Suggestions, not verdicts.

Card numbers: ISO/IEC 7812-1 (issuer prefix, length, Luhn's check digit). IBAN: ISO 13616 (length of the country, ISO
7064 MOD 97-10). Telephone numbers: ITU-T E.164 (at most 15 digits). IP addresses: RFC 791, RFC 4291.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

EXAMPLES = 3
LOOKED_AT = 20_000  # candidates of a column whose check digits are computed: 0.1 s; the share is scaled up from them

_EMAIL = r"(?i)\b[a-z0-9._%+-]{1,64}@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}\b"
_CARD = (
    r"(?:^|[^0-9.])([2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"
    r"|3[0689][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4})(?:$|[^0-9.])"
)
_IBAN = r"\b([A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30})\b"
_IP = (
    r"(?i)^\s*((?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    r"|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?)\s*$"
)
_PHONE = r"^\s*(?:\+|00|\()[0-9][0-9 ()./-]{5,22}[0-9]\s*$|^\s*[0-9]{3}[-. ][0-9]{3}[-. ][0-9]{4}\s*$"
_BARE_PHONE = r"^\s*[+(]?[0-9][0-9 ()./-]{5,22}[0-9]\s*$"

# Country: characters of its IBAN (SWIFT IBAN registry, release 97).
IBAN_LENGTHS = {
    **{"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28},
    **{"CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18},
    **{"FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22},
    **{"IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20},
    **{"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18},
    **{"NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18},
    **{"SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22},
    **{"VG": 24, "XK": 20},
}

# Words of a column's name, in order; "first_name" is also found in "customerFirstName".
NAMES: dict[str, tuple[str, ...]] = {
    "email": ("email", "e mail", "mail address"),
    "phone": ("phone", "telephone", "mobile", "cellphone", "msisdn", "fax"),
    "card": ("card number", "card no", "credit card"),
    "iban": ("iban", "bank account", "account number"),
    "ip": ("ip", "ip address", "ipaddress", "client ip"),
    "name": ("first name", "last name", "full name", "given name", "family name", "surname", "firstname", "lastname"),
    "birth_date": ("birth date", "birthdate", "birthday", "date of birth", "dob"),
    "address": ("street", "home address", "postal address", "mailing address", "address line"),
    "national_id": ("ssn", "social security", "passport", "national id", "tax id", "driver license"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A column that seems to hold personal data.

    kind: email, phone, card, iban, ip, name, birth_date, address or national_id. share: of the values that are not
    missing, 0..1, that look so (0 where only the name of the column speaks for it). examples: shapes of some of them,
    letters as "x", digits as "9": they say nothing of a person. named: the column's name speaks for it.
    """

    column: str
    kind: str
    share: float
    examples: tuple[str, ...]
    named: bool

    @property
    def tag(self) -> str:
        """The tag that a person confirms or rejects."""
        return f"pii:{self.kind}"

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "column": self.column,
            "kind": self.kind,
            "share": self.share,
            "examples": list(self.examples),
            "named": self.named,
        }


class _Rule(NamedTuple):
    """A kind, the pattern of its candidates, what proves one, and the shares at which a column counts.

    at_least: of the column's values; sure: of its candidates (a tenth of all numbers pass Luhn's check by chance).
    """

    kind: str
    pattern: str
    proves: Callable[[str], bool] | None
    at_least: float
    sure: float = 0.0


def find(frame: pl.DataFrame | pl.LazyFrame, *, columns: Sequence[str] | None = None) -> list[Finding]:
    """What the rules find, in order of columns. columns: all by default; texts and whole numbers are looked at.

    E-mail addresses, card numbers and IBANs count from the first one, also inside longer text; telephone numbers and IP
    addresses from a fifth and a tenth of the values, because dates and version numbers look like them. Of a lazy frame
    one column is in memory at a time.
    """
    scan = frame.lazy()
    kinds = scan.collect_schema()
    found = []
    for column in columns if columns is not None else kinds:
        named = named_kinds(column)
        by_value = _by_value(column, _texts(scan, column), named) if _is_textual(kinds[column]) else []
        found += by_value
        for kind in [] if kinds[column] == pl.Boolean else named:
            if kind not in {each.kind for each in by_value}:
                found.append(Finding(column, kind, 0.0, (), named=True))
    return found


def named_kinds(column: str) -> list[str]:
    """The kinds of personal data that a column's name speaks for.

    >>> named_kinds("customerEMail"), named_kinds("recipient"), named_kinds("ship")
    (['email'], [], [])
    """
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", column))
    words = f" {' '.join(re.findall('[a-z]+', parted.lower()))} "
    return [kind for kind, names in NAMES.items() if any(f" {name} " in words for name in names)]


def luhn(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of the others (ISO/IEC 7812-1, annex B).

    >>> luhn("79927398713"), luhn("79927398710")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Whether it is a payment card number: issuer prefix, length and check digit."""
    digits = re.sub(r"[ -]", "", text)
    if not digits.isdecimal() or len(set(digits)) == 1:
        return False
    lengths: tuple[int, ...] = ()
    if digits[0] == "4":
        lengths = (13, 16, 19)
    elif 51 <= int(digits[:2]) <= 55 or 2221 <= int(digits[:4]) <= 2720:
        lengths = (16,)
    elif digits[:2] in ("34", "37"):
        lengths = (15,)
    elif digits[:2] in ("36", "38", "39") or 300 <= int(digits[:3]) <= 305:
        lengths = (14, 16, 19)
    elif digits[:2] in ("35", "50", "62", "64", "65") or digits[:4] == "6011" or digits[:2] in ("56", "57", "58"):
        lengths = (16, 17, 18, 19)
    return len(digits) in lengths and luhn(digits)


def is_iban(text: str) -> bool:
    """Whether it is an IBAN: country, its length, and the check digits: the number is 1 modulo 97 (ISO 7064)."""
    plain = text.replace(" ", "").upper()
    if IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def begins_iban(text: str) -> bool:
    """Whether the text begins with an IBAN: what a pattern finds in a sentence may be longer."""
    plain = text.replace(" ", "")
    return is_iban(plain[: IBAN_LENGTHS.get(plain[:2], 0)])


def is_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        return ipaddress.ip_address(text.strip()) is not None
    except ValueError:
        return False


def is_phone(text: str) -> bool:
    """Whether it may be a telephone number: 7 to 15 digits, and no date, decimal number or IP address."""
    digits = re.sub(r"\D", "", text)
    if not 7 <= len(digits) <= 15 or is_ip(text):
        return False
    return not re.fullmatch(r"\s*(\d{4}-\d{2}-\d{2}.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d+\.\d+)\s*", text)


def shape(text: str) -> str:
    """What the text looks like, without saying it.

    >>> shape("Ada.L@example.org")
    'xxx.x@xxxxxxx.xxx'
    """
    return "".join("x" if letter.isalpha() else "9" if letter.isalnum() else letter for letter in text[:40])


RULES = (
    _Rule("email", _EMAIL, None, at_least=0.0),
    _Rule("card", _CARD, is_card, at_least=0.0, sure=0.5),
    _Rule("iban", _IBAN, begins_iban, at_least=0.0, sure=0.1),
    _Rule("ip", _IP, is_ip, at_least=0.1),
    _Rule("phone", _PHONE, is_phone, at_least=0.2),
)


def _is_textual(kind: pl.DataType) -> bool:
    return kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum) or kind.is_integer()


def _texts(scan: pl.LazyFrame, column: str) -> pl.Series:
    return scan.select(pl.col(column).drop_nulls().cast(pl.String)).collect()[column]


def _by_value(column: str, values: pl.Series, named: Sequence[str]) -> list[Finding]:
    if values.is_empty():
        return []
    counted = values.value_counts(name="__count").rename({values.name: "value"})
    found = []
    for rule in RULES:
        hinted = rule.kind in named
        pattern = _BARE_PHONE if rule.kind == "phone" and hinted else rule.pattern
        candidates = counted.filter(pl.col("value").str.contains(pattern))
        if candidates.is_empty():
            continue
        proved = _proved(candidates, rule, pattern)
        sure = float(proved["__count"].sum()) / float(_sample(candidates)["__count"].sum())
        share = sure * float(candidates["__count"].sum()) / len(values)
        if share > 0 and (hinted or (share >= rule.at_least and sure >= rule.sure)):
            shapes = tuple(dict.fromkeys(shape(_part(text, pattern)) for text in proved["value"].head(100)))
            found.append(Finding(column, rule.kind, share, shapes[:EXAMPLES], named=hinted))
    return found


def _sample(candidates: pl.DataFrame) -> pl.DataFrame:
    step = -(-candidates.height // LOOKED_AT)
    return candidates if step == 1 else candidates.sort("value").gather_every(step)


def _proved(candidates: pl.DataFrame, rule: _Rule, pattern: str) -> pl.DataFrame:
    """The candidates of the sample that hold at least one which the rule's check proves."""
    looked_at, proves = _sample(candidates).sort("value"), rule.proves
    if proves is None:
        return looked_at
    parts = re.compile(pattern)
    passed = [any(proves(_whole(match)) for match in parts.finditer(text)) for text in looked_at["value"]]
    return looked_at.filter(pl.Series(passed, dtype=pl.Boolean))


def _whole(match: re.Match[str]) -> str:
    return match.group(1) if match.re.groups else match.group(0)


def _part(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return _whole(match).strip() if match else ""
