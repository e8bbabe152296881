"""A token says how its answer was made, to those alone who have the deployment's secret."""

import time

import pytest

from groundswell.serving.attribution import (
    AnswerInputs,
    Attribution,
    AttributionTokens,
    Draw,
    id_at,
    new_recommendation_id,
)
from groundswell.serving.errors import InvalidArgument

FIRST, SECOND = "the first secret of all", "the second secret of all"
BUNDLE = "0123456789abcdef" * 4
MADE = Attribution(new_recommendation_id(), BUNDLE, "blue", 0.3, Draw.GRID, 0.125)
INPUTS = AnswerInputs._make([2**32 - 2, *range(100, 107), 2**62, True, 2**32 - 1, b"12345678"])
REPLAYABLE = MADE._replace(inputs=INPUTS)
EARLIER = (
    "0191f0a3b7c0abababababababababab.AQEzMzMzMzPTPwAAAAAAAMA_"
    "EDAxMjM0NTY3ODlhYmNkZWZibHVlJfPdFinoDNCMia1N584GYg"
)
"""A token of the release before."""
NOBODY = Attribution(new_recommendation_id(), BUNDLE)


@pytest.mark.parametrize("made", [MADE, NOBODY, REPLAYABLE])
def test_a_token_is_read_as_it_was_made_also_under_an_earlier_secret(made: Attribution) -> None:
    token = AttributionTokens(FIRST).issue(made)
    assert AttributionTokens(FIRST).read(token, "token") == made
    assert AttributionTokens(FIRST, SECOND).read(token, "token") == made
    newer = AttributionTokens(FIRST, SECOND).issue(made)
    assert newer != token
    assert len(token) < 270
    assert token.startswith(f"{made.recommendation_id}.")
    with pytest.raises(InvalidArgument):
        AttributionTokens(FIRST).read(newer, "token")


def test_a_token_of_the_release_before_is_read() -> None:
    made = AttributionTokens(FIRST).read(EARLIER, "token")
    expected = Attribution(EARLIER[:32], BUNDLE[:16], "blue", 0.3, Draw.GRID, 0.125)
    assert made == expected


def test_a_digest_is_recognised_also_under_an_earlier_secret() -> None:
    digest = AttributionTokens(FIRST).digest(b"a request")
    later = AttributionTokens(FIRST, SECOND)
    assert later.is_digest(digest, b"a request")
    assert not later.is_digest(digest, b"another request")
    assert not AttributionTokens(SECOND).is_digest(digest, b"a request")


def test_no_changed_token_is_read() -> None:
    tokens = AttributionTokens(FIRST)
    token = tokens.issue(MADE)
    changed = [f"{token[:n]}{'A' if token[n] != 'A' else 'B'}{token[n + 1 :]}" for n in range(60)]
    for other in ("", ".", "x", token[:-2], f"{MADE.recommendation_id}.{BUNDLE}", *changed, "ü.ü"):
        with pytest.raises(InvalidArgument) as caught:
            tokens.read(other, "lists[0].attribution_token")
        assert caught.value.reason == "ATTRIBUTION_TOKEN_INVALID"
        assert caught.value.field == "lists[0].attribution_token"


def test_ids_are_in_the_order_of_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    first = new_recommendation_id()
    assert len(first) == 32
    assert id_at(before_ms) < first < id_at(before_ms + 60_000)
    assert id_at(-5) < first


def test_only_tokens_of_the_deployment_are_issued_ones() -> None:
    tokens = AttributionTokens(FIRST)
    token = tokens.issue(Attribution(new_recommendation_id(), "ab" * 32))
    assert tokens.is_issued(token)
    for other in (
        "",
        token[:32],
        f"{token[:32]}.forged",
        AttributionTokens(SECOND).issue(tokens.read(token, "token")),
    ):
        assert not tokens.is_issued(other)
