"""Strings and numbers for the keywords of a schema, plain ones first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from mimic.engine.instances.patterns import matching

MAX_LENGTH: Final = 100_000
"""Characters of the longest string to make."""
LARGEST_INTEGER: Final = 2**53
FEW: Final = 2
"""Characters that are too few for a word and a number."""
FILLER: Final = " and so on"

SAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "date-time": ("2024-05-17T09:30:00Z", "2024-05-18T14:00:00Z", "2024-05-21T08:15:00Z"),
    "date": ("2024-05-17", "2024-05-18", "2024-05-21"),
    "time": ("09:30:00Z", "14:00:00Z", "08:15:00Z"),
    "duration": ("PT1H", "P1D", "PT30M"),
    "email": ("ada@example.com", "grace@example.com", "alan@example.com"),
    "idn-email": ("ada@example.com", "grace@example.com", "alan@example.com"),
    "hostname": ("example.com", "www.example.com", "example.org"),
    "idn-hostname": ("example.com", "www.example.com", "example.org"),
    "ipv4": ("192.0.2.1", "192.0.2.2", "198.51.100.7"),
    "ipv6": ("2001:db8::1", "2001:db8::2", "2001:db8::3"),
    "uri": ("https://example.com/", "https://example.org/", "https://example.net/"),
    "iri": ("https://example.com/", "https://example.org/", "https://example.net/"),
    "uri-reference": ("/example", "/other", "/third"),
    "iri-reference": ("/example", "/other", "/third"),
    "uri-template": ("/items/{id}", "/users/{name}", "/pages/{page}"),
    "uuid": (
        "123e4567-e89b-42d3-a456-426614174000",
        "123e4567-e89b-42d3-a456-426614174001",
        "123e4567-e89b-42d3-a456-426614174002",
    ),
    "json-pointer": ("/a/b", "/a", "/b"),
    "relative-json-pointer": ("0", "1", "0/a"),
    "regex": ("^[a-z]+$", "^[0-9]+$", "a|b"),
}
"""Values of each format of draft 2020-12; RFC 2606, 5737 and 3849 reserve the addresses for examples."""

NUMBERED: Final[Mapping[str, str]] = {
    "date-time": "2024-{month:02}-{day:02}T09:30:00Z",
    "date": "2024-{month:02}-{day:02}",
    "time": "{hour:02}:{minute:02}:00Z",
    "duration": "PT{number}M",
    "email": "user{number}@example.com",
    "idn-email": "user{number}@example.com",
    "hostname": "host{number}.example.com",
    "idn-hostname": "host{number}.example.com",
    "ipv4": "198.51.100.{byte}",
    "ipv6": "2001:db8::{number:x}",
    "uri": "https://example.com/{number}",
    "iri": "https://example.com/{number}",
    "uri-reference": "/{number}",
    "iri-reference": "/{number}",
    "uri-template": "/items/{number}/{{id}}",
    "uuid": "123e4567-e89b-42d3-a456-4266{number:08}",
    "json-pointer": "/{number}",
    "relative-json-pointer": "{number}",
    "regex": "^[a-z]{{{number}}}$",
}
"""Further values of each format."""


def strings(parts: Sequence[Mapping[str, Any]], label: str, variant: int) -> Iterator[str]:
    """Strings that may meet the keywords of all parts. Each ``variant`` gives at least one string."""
    least = max([math.ceil(_number(part, "minLength", 0)) for part in parts], default=0)
    most = min([math.floor(_number(part, "maxLength", MAX_LENGTH)) for part in parts], default=MAX_LENGTH)
    for part in parts:
        if isinstance(part.get("pattern"), str):
            yield from matching(part["pattern"], variant)
    for part in parts:
        if part.get("format") in SAMPLES:
            yield from _samples(part["format"], variant)
    if least <= most:
        text = f"{label or 'text'} {variant + 1}" if variant else label or "text"
        yield fit(text, least, most, variant)


def fit(text: str, least: int, most: int, variant: int = 0) -> str:
    """The text, extended or cut to the limits. A cut text still differs for each variant."""
    if len(text) > most:
        number = str(variant) if variant else ""
        text = text[:most] if len(number) >= most else text[: most - len(number)].rstrip() + number
    if len(text) < least <= MAX_LENGTH:
        text += (FILLER * (1 + (least - len(text)) // len(FILLER)))[: least - len(text)]
        if text[-1] == " ":
            text = text[:-1] + "."
    if not variant or max(len(text), most) > FEW:
        return text
    return "".join([chr(97 + variant // 26**place % 26) for place in range(most)])


def _samples(kind: str, variant: int) -> Iterator[str]:
    samples = SAMPLES[kind]
    if variant < len(samples):
        yield samples[variant]
        yield from samples
    number = variant + 1
    yield NUMBERED[kind].format(
        number=number,
        month=1 + number // 28 % 12,
        day=1 + number % 28,
        hour=number // 60 % 24,
        minute=number % 60,
        byte=number % 256,
    )


def numbers(parts: Sequence[Mapping[str, Any]], integer: bool, variant: int) -> Iterator[int | float]:
    """Numbers within the bounds of all parts, and multiples of their ``multipleOf``; small ones first."""
    low, low_open = max(
        [_bound(part, "minimum", "exclusiveMinimum", -math.inf) for part in parts], default=(-math.inf, False)
    )
    high, high_open = min([_upper(part) for part in parts], default=(math.inf, True))
    high_open = not high_open
    steps = [Fraction(str(part["multipleOf"])) for part in parts if _number(part, "multipleOf", 0) > 0]
    if integer:
        steps.append(Fraction(1))
    if steps:
        yield from _multiples(_common_multiple(steps), low, low_open, high, high_open, variant)
        return
    yield from _between(low, low_open, high, high_open, variant)


def _multiples(
    step: Fraction, low: float, low_open: bool, high: float, high_open: bool, variant: int
) -> Iterator[int | float]:
    """Multiples of the step within the bounds: upwards from the smallest positive one, or from the upper bound."""
    first = last = None
    if math.isfinite(low):
        exact = Fraction(str(low)) / step
        first = math.floor(exact) + 1 if low_open else math.ceil(exact)
    if math.isfinite(high):
        exact = Fraction(str(high)) / step
        last = math.ceil(exact) - 1 if high_open else math.floor(exact)
    start = 1 if first is None else first
    if start < 1 and (last is None or last >= 1):
        start = 1
    if last is not None and start > last:
        start = last
    upwards = [number for number in range(start + variant, start + variant + 20) if last is None or number <= last]
    downwards = [
        number for number in range(start - 1 - variant, start - 12 - variant, -1) if first is None or number >= first
    ]
    found = [_plain(number * step) for number in (*upwards, *downwards)]
    # For validators that divide in binary floating point, 6.1 is no multiple of 0.1.
    yield from sorted(found, key=lambda value: not (value / (float(step) or 1)).is_integer())


def _between(low: float, low_open: bool, high: float, high_open: bool, variant: int) -> Iterator[int | float]:
    for plain in (1 + variant, 0.5 + variant, variant):
        if (low < plain if low_open else low <= plain) and (plain < high if high_open else plain <= high):
            yield plain
    if math.isfinite(low) and math.isfinite(high):
        if not variant and not low_open:
            yield low
        if not variant and not high_open:
            yield high
        yield low + (high - low) * (variant + 1) / (variant + 2)
    elif math.isfinite(low):
        yield math.floor(low) + 1 + variant
        yield low + (variant + 1) * max(1.0, abs(low) * 1e-9)
    elif math.isfinite(high):
        yield math.ceil(high) - 1 - variant
        yield high - (variant + 1) * max(1.0, abs(high) * 1e-9)


def _plain(value: Fraction) -> int | float:
    """The number for JSON: an integer up to 2**53, which every parser reads exactly, else a float."""
    if value.denominator == 1 and abs(value.numerator) <= LARGEST_INTEGER:
        return value.numerator
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _common_multiple(steps: Sequence[Fraction]) -> Fraction:
    common = steps[0]
    for step in steps[1:]:
        numerator = common.numerator * step.denominator
        other = step.numerator * common.denominator
        common = Fraction(math.lcm(numerator, other), common.denominator * step.denominator)
    return common


def _bound(part: Mapping[str, Any], closed: str, opened: str, none: float) -> tuple[float, bool]:
    """A bound, and True if it is exclusive. In draft 4, ``exclusiveMinimum`` is true or false."""
    value, beyond = _number(part, closed, none), _number(part, opened, none)
    if part.get(opened) is True:
        return value, True
    if abs(beyond) == math.inf:
        return value, False
    if value == none:
        return beyond, True
    return (beyond, True) if (beyond >= value if none < 0 else beyond <= value) else (value, False)


def _upper(part: Mapping[str, Any]) -> tuple[float, bool]:
    """The upper bound, and True if it is inclusive, so that the smaller of two pairs is the stricter."""
    value, is_open = _bound(part, "maximum", "exclusiveMaximum", math.inf)
    return value, not is_open


def _number(part: Mapping[str, Any], keyword: str, none: float) -> float:
    value = part.get(keyword)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else none
