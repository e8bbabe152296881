"""The long-term vector that is served is what the bundle's head says of the stored history."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from groundswell.artifacts.store import load_bundle
from groundswell.client import GroundswellClient, GroundswellError, event, item, vector_values
from groundswell.features.actions import action_number
from groundswell.features.chunks import chunk_ages
from groundswell.features.text import chunk_text, item_text
from groundswell.features.window import session_starts, window_tensors
from groundswell.serving.vectors import vector_to_proto
from tests.support.bundles import CHUNK_LENGTH, ITEMS, RECENT_LENGTH, TEXT_DIMENSION

IDS = [item_id for item_id, _, _ in ITEMS]
TITLES = [title for _, title, _ in ITEMS]

History = Sequence[tuple[int, int, str]]
"""(time, place in ITEMS, action), oldest first."""

_START = 1_700_000_000
_DAY = 86_400


@pytest.mark.parametrize("num_events", [1, CHUNK_LENGTH, 10])
def test_the_long_vector_is_what_the_bundles_head_says_of_the_history(
    client: GroundswellClient, bundles: Path, num_events: int
) -> None:
    places = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3][:num_events]
    actions = ("view", "like", "purchase")
    # Two events a day: every second one starts a session.
    history = [
        (_START + _DAY * (n // 2) + 60 * (n % 2), place, actions[n % 3])
        for n, place in enumerate(places)
    ]
    user = f"long {num_events}"
    append(client, user, history, IDS)
    got = served(client, user)
    # Chunks are stored as float16.
    due = head_of(bundles, history, TITLES, TITLES)
    assert got == pytest.approx(due, abs=2e-3)
    profile = client.get_profile(user)
    covered = profile.num_covered_events, profile.num_events, profile.stale, profile.text_pending
    assert covered == (num_events, num_events, False, False)
    assert profile.last_event_time.seconds == history[-1][0]


def test_a_late_event_is_read_at_its_place_in_the_one_order(
    client: GroundswellClient, bundles: Path
) -> None:
    history = [(_START + 600 * n, (7 * n) % 30, "click") for n in range(9)]
    late = (_START + 600 * 6 + 1, 29, "dislike")
    append(client, "late", history, IDS)
    before = served(client, "late")
    append(client, "late", [late], IDS)
    got = served(client, "late")
    due = head_of(bundles, sorted([*history, late]), TITLES, TITLES)
    assert got == pytest.approx(due, abs=2e-3)
    assert np.abs(np.subtract(got, before)).max() > 0.01


def test_an_item_that_is_new_to_the_bundle_is_read_by_the_text_that_it_has_now(
    client: GroundswellClient, bundles: Path
) -> None:
    first_title, ids = "A Burning Soldier of Winter", [*IDS, "brand-new"]
    client.upsert_items([item("brand-new", first_title)])
    places = (2, len(ITEMS), 3, len(ITEMS))
    history = [(_START + 60 * n, place, "view") for n, place in enumerate(places)]
    append(client, "curious", history, ids)
    vectors = []
    for title in (first_title, "Quiet Weddings"):
        client.upsert_items([item("brand-new", title)])
        got = served(client, "curious")
        # The chunk was encoded under the first title, and stays.
        due = head_of(bundles, history, [*TITLES, first_title], [*TITLES, title])
        assert got == pytest.approx(due, abs=2e-3)
        vectors.append(got)
    assert np.abs(np.subtract(vectors[0], vectors[1])).max() > 0.01


def test_what_is_left_out_of_a_history_is_what_an_item_loses(
    client: GroundswellClient, bundles: Path
) -> None:
    history = [(_START + 600 * n, (7 * n) % 30, "click") for n in range(10)]
    append(client, "explained", history, IDS)
    whole = served(client, "explained")
    bundle = load_bundle(bundles)
    vector = np.array(bundle.item_vectors[3])
    item_vector = vector_to_proto(vector, bundle.id)
    answer = client.explain_profile("explained", item_vector)

    def lost(**left_out: int) -> float:
        return float((whole - head_of(bundles, history, TITLES, TITLES, **left_out)) @ vector)

    of_events = {one.time.seconds: one.effect for one in answer.events}
    assert len(of_events) == len(history)
    for n in (0, 5, 9):
        due = lost(without_event=n)
        assert of_events[history[n][0]] == pytest.approx(due, abs=2e-2)
    of_chunks = {one.last_event_time.seconds: one.effect for one in answer.chunks}
    for n in (0, 1):
        end = history[(n + 1) * CHUNK_LENGTH - 1][0]
        assert of_chunks[end] == pytest.approx(lost(without_chunk=n), abs=2e-2)
    assert max(map(abs, of_chunks.values())) > 5e-2
    effects = [one.effect for one in answer.events]
    assert effects == sorted(effects, reverse=True)
    append(client, "of one event", history[:1], IDS)
    [one] = client.explain_profile("of one event", item_vector).events
    assert one.effect == pytest.approx(np.array(served(client, "of one event")) @ vector, abs=2e-2)
    assert not client.explain_profile("nobody", item_vector).events
    with pytest.raises(GroundswellError) as caught:
        client.explain_profile("explained", vector_to_proto(vector[1:], bundle.id))
    assert caught.value.reason == "VECTOR_INVALID"


def append(client: GroundswellClient, user: str, history: History, ids: Sequence[str]) -> None:
    client.append_events(
        event(user, ids[place], action, time=time) for time, place, action in history
    )


def served(client: GroundswellClient, user: str) -> tuple[float, ...]:
    for _ in client.refresh_profiles():
        pass
    return vector_values(client.get_profile(user).vector)


def head_of(
    bundles: Path,
    history: History,
    chunk_titles: Sequence[str],
    titles: Sequence[str],
    *,
    without_event: int = -1,
    without_chunk: int = -1,
) -> NDArray[np.float32]:
    """What the bundle's head says of a history, of items with these titles now and in chunks.

    Without one of the newest events, or one of the chunks, if it is named.
    """
    bundle = load_bundle(bundles)
    encode = bundle.text_encoder().encode
    names = [*(names for _, _, names in ITEMS), ()]
    texts = encode([item_text(title, names[n]) for n, title in enumerate(titles)])
    rows = np.array([n if n < len(ITEMS) else -1 for n in range(len(titles))])
    contexts = bundle.context_head().run(text_vectors=texts, rows=rows)
    places = [place for _, place, _ in history]
    times_us = np.array([time for time, _, _ in history]) * 1_000_000
    num_chunks = len(history) // CHUNK_LENGTH
    chunks = np.zeros((max(num_chunks, 1), TEXT_DIMENSION), np.float32)
    ages = np.zeros(max(num_chunks, 1), np.float32)
    for k in range(num_chunks):
        part = places[k * CHUNK_LENGTH : (k + 1) * CHUNK_LENGTH]
        chunks[k] = encode([chunk_text([chunk_titles[p] for p in part])])[0]
    ends_us = times_us[CHUNK_LENGTH - 1 :: CHUNK_LENGTH]
    ages[:num_chunks] = chunk_ages(ends_us, times_us[-1], use_time=True)
    recent = history[-RECENT_LENGTH:]
    tensors = window_tensors(
        times_us[-RECENT_LENGTH:],
        np.array([action_number(action) for _, _, action in recent]),
        session_starts(times_us)[-RECENT_LENGTH:],
        use_time=True,
    )
    of_chunks = np.arange(len(chunks)) != without_chunk
    of_events = np.arange(len(recent)) != without_event
    vectors = bundle.profile_head().run(
        chunk_vectors=chunks[of_chunks][None],
        chunk_ages=ages[of_chunks][None],
        num_chunks=np.array([min(num_chunks, int(of_chunks.sum()))]),
        recent_vectors=contexts[places[-RECENT_LENGTH:]][of_events][None],
        recent_actions=tensors.actions[of_events][None],
        recent_gaps=tensors.gaps[of_events][None],
        recent_starts=tensors.starts[of_events][None],
        recent_lengths=np.array([int(of_events.sum())]),
    )
    vector: NDArray[np.float32] = vectors[0]
    return vector
