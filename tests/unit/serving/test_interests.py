"""The most probable categories, found without a sort of all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.serving.interests import top_interests

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=1, max_size=40)


@given(PROBABILITIES, st.integers(0, 50))
def test_they_are_the_first_of_all_sorted_by_probability_and_name(
    probabilities: list[float], limit: int
) -> None:
    names = [f"c{n:02}" for n in range(len(probabilities))][::-1]
    due = sorted(zip(names, probabilities, strict=True), key=lambda pair: (-pair[1], pair[0]))
    assert top_interests(np.array(probabilities), names, limit) == due[:limit]


def test_of_very_many_categories_few_are_given() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(15_000)).astype(np.float32)
    names = [f"category {n}" for n in range(15_000)]
    found = top_interests(probabilities, names, 20)
    assert [name for name, _ in found] == [
        names[place] for place in np.argsort(-probabilities)[:20]
    ]
