"""Candidates of a page: enough of them, wherever the items that may come are."""

import numpy as np

from groundswell.ranker_service.stages.candidates import UserSearch
from groundswell.ranker_service.stages.page_controls import Controls, ItemSpread
from groundswell.ranker_service.stages.rerank import rerank
from groundswell.retrieval.flat import FlatEngine
from groundswell.retrieval.item_index import ItemIndex
from groundswell.retrieval.query import Query


def test_a_page_is_full_where_each_category_is_a_cluster() -> None:
    """The best items that are not on the page are then all of one category."""
    num_categories, size = 20, 400
    categories = np.repeat(np.arange(num_categories, dtype=np.int32), size)
    vectors = np.stack([-categories, np.zeros_like(categories)], 1).astype(np.float32)
    user = np.array([1, 0], np.float32)
    query = Query(np.stack([user, np.zeros_like(user)]), num_categories)
    index = ItemIndex(FlatEngine.build(vectors))
    search = UserSearch(index, query, None, ItemSpread(vectors).of_user(user))
    page = rerank(search, Controls(max_per_category=1, categories=categories), num_categories)
    assert page.hits.ids.tolist() == np.arange(0, len(categories), size).tolist()
