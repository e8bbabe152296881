"""Outcomes of recommendations, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from math import sqrt

from rich.console import Group, RenderableType
from rich.text import Text

from groundswell.cli.display.answers import plain_table
from groundswell.profile.v1 import outcome_service_pb2 as pb

_Z95 = 1.959964
_NARROW = 0.8
"""Below this mean weight the log lacks weights that the policy would choose."""


def rates(answer: pb.GetOutcomesResponse, groups: Sequence[str]) -> RenderableType:
    """The share of shown items that were clicked and purchased, with 95 % intervals."""
    table = plain_table()
    for name in groups:
        table.add_column(name.replace("_", " "))
    for name in ("lists", "shown", "clicked", "click rate", "purchased", "purchase rate"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in answer.outcomes:
        table.add_row(
            *(Text(_value(row, name)) for name in groups),
            f"{row.num_lists:,}",
            f"{row.num_shown:,}",
            f"{row.num_clicked:,}",
            _rate(row.num_clicked, row.num_shown),
            f"{row.num_purchased:,}",
            _rate(row.num_purchased, row.num_shown),
        )
    if not answer.outcomes:
        return Text("no list was shown in this time")
    if not answer.num_not_shown:
        return table
    left_out = f"note: {answer.num_not_shown:,} items of events were not in their list"
    return Group(table, Text(left_out, style="yellow"))


def policies(found: Mapping[str, pb.EstimatePolicyResponse], reward: str) -> RenderableType:
    """The share of lists with a success under each policy, with 95 % intervals."""
    table = plain_table(f"share of lists with a {reward}")
    table.add_column("policy")
    for name in ("self-normalised", "inverse propensity", "as drawn", "lists", "count as"):
        table.add_column(name, justify="right", no_wrap=True)
    for text, one in found.items():
        estimates = (one.self_normalised, one.inverse_propensity, one.logged)
        shares = (_estimate(each) for each in estimates)
        table.add_row(Text(text), *shares, f"{one.num_lists:,}", f"{one.num_effective:,.0f}")
    lacking = [text for text, one in found.items() if one.mean_weight < _NARROW]
    notes = [
        Text(f"note: the log lacks weights that {text} would choose", style="yellow")
        for text in lacking
    ]
    return Group(table, *notes)


def _value(row: pb.Outcomes, name: str) -> str:
    match name:
        case "bundle":
            return row.bundle_id[:12]
        case "fusion_weight":
            low = row.fusion_weight
            return f"{low:.1f} to {low + 0.1:.1f}" if row.HasField("fusion_weight") else "none"
        case "place":
            return str(row.place)
    return row.variant or "none"


def _rate(num: int, of: int) -> str:
    """A share with its interval (Wilson 1927)."""
    if not of:
        return "–"
    share = num / of
    middle = (share + _Z95**2 / (2 * of)) / (1 + _Z95**2 / of)
    half = _Z95 / (1 + _Z95**2 / of) * sqrt(share * (1 - share) / of + _Z95**2 / (4 * of**2))
    return f"{share:.2%} ({max(middle - half, 0):.2%} to {middle + half:.2%})"


def _estimate(one: pb.Estimate) -> str:
    return f"{one.value:.2%} ({one.low:.2%} to {one.high:.2%})"
