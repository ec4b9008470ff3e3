"""What a client would like to get: ``Accept`` and ``Accept-Encoding`` (RFC 9110 §12.5). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from multidict import MultiMapping

_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def accepted(field: str) -> Iterator[tuple[str, float]]:
    """The members of an Accept or an Accept-Encoding in lower case, each with its weight from 0 to
    1 (RFC 9110 §12.4.2); the weight of a member whose ``q`` is malformed is 0."""
    for member in field.lower().split(","):
        kind, *parameters = (part.strip() for part in member.split(";"))
        weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        if not weights:
            yield kind, 1.0
        else:
            yield kind, float(weights[0]) if _WEIGHT.fullmatch(weights[0]) else 0.0


def wants_page(fields: MultiMapping[str]) -> bool:
    """Whether the request with these header fields is a browser's navigation: its Accept names
    HTML, and names no JSON with a higher weight, nor with the same weight before it."""
    best, page = 0.0, False
    for kind, weight in accepted(fields.get("Accept", "")):
        if weight > best and (kind == "text/html" or kind.endswith(("/json", "+json"))):
            best, page = weight, kind == "text/html"
    return page


def wants_json(fields: MultiMapping[str]) -> bool:
    """Whether the request with these header fields asks for ``application/json`` rather than for
    ``text/html``. Each has the weight of the most specific member that it matches (RFC 9110
    §12.5.1). Of two that weigh the same, the more specific member counts, then the first one; where
    one member matches both, as ``*/*`` does, nobody has asked for JSON."""
    members = list(accepted(",".join(fields.getall("Accept", ()))))
    json, page = _match(members, "application/json"), _match(members, "text/html")
    return json[0] > 0 and json > page


def _match(members: list[tuple[str, float]], media_type: str) -> tuple[float, int, int]:
    """How a media type fares: its weight, how specific the member is that says so (0 where none
    does), and where that member is, the first one highest."""
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    found = [
        (ranges.index(kind) + 1, -position, weight)
        for position, (kind, weight) in enumerate(members)
        if kind in ranges
    ]
    specific, position, weight = max(found, default=(0, 0, 0.0))
    return weight, specific, position
