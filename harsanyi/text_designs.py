"""Designs of text nets: sums of exact parts by name."""

from collections.abc import Mapping, Sequence
from typing import Any

DESIGNS: dict[str, list[dict[str, Any]]] = {
    "bag": [{"kind": "bag"}],
    "ngrams": [{"kind": "bag"}, {"kind": "ngrams"}],
    "convolution": [{"kind": "bag"}, {"kind": "convolution"}],
    "matrices": [{"kind": "matrices"}],
    "attention": [{"kind": "attention"}],
    "maximum": [{"kind": "maximum"}],
    "sum": [{"kind": "bag"}, {"kind": "ngrams"}, {"kind": "matrices"}],
}
"""Sums of exact parts by name; any other list of specs will do as well."""


def specs_of(design: str | Sequence[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Specs of the parts that a design names.

    Args:
        design: A name of `DESIGNS`, several joined by "+", or a list of names and specs.

    Raises:
        ValueError: If a name is unknown or nothing is named.
    """
    listed = design.split("+") if isinstance(design, str) else list(design)
    found: list[dict[str, Any]] = []
    for one in listed:
        if isinstance(one, str):
            if one.strip() not in DESIGNS:
                raise ValueError(f"design {one!r} is unknown; choose among {', '.join(DESIGNS)}.")
            found += [spec for spec in DESIGNS[one.strip()] if spec not in found]
        else:
            found.append(dict(one))
    if not found:
        raise ValueError("design names no part; pass at least one.")
    return found
