"""The item head: an item's text places it where training did not know its id."""

import torch

from groundswell.models.interest_head import InterestHead
from groundswell.models.item_head import ItemHead

ITEMS, DIMENSION, TEXT = 20, 8, 12


def head() -> ItemHead:
    torch.manual_seed(0)
    model = ItemHead(ITEMS, DIMENSION, TEXT)
    torch.nn.init.normal_(model.ids.weight)
    model.fit_texts(torch.randn(ITEMS, TEXT) * 3 + 5)
    return model.eval()


def test_an_unknown_row_is_placed_by_its_text_alone() -> None:
    model, texts = head(), torch.randn(ITEMS, TEXT)
    placed = model(texts, torch.full((ITEMS,), -1))
    dropped = model.place(model.normalised(texts), torch.arange(ITEMS), torch.zeros(ITEMS))
    torch.testing.assert_close(placed, dropped, rtol=0, atol=0)
    assert (placed[0] - placed[1]).abs().max() > 1e-3
    known = model(texts, torch.arange(ITEMS))
    torch.testing.assert_close(known - placed, model.ids.weight, rtol=1e-4, atol=1e-5)


def test_ids_are_dropped_item_by_item() -> None:
    model, texts, rows = head(), torch.randn(ITEMS, TEXT), torch.arange(ITEMS)
    keep = (rows % 2).float()
    mixed = model.place(model.normalised(texts), rows, keep)
    torch.testing.assert_close(mixed[1::2], model(texts, rows)[1::2])
    torch.testing.assert_close(mixed[::2], model(texts, torch.full_like(rows, -1))[::2])


def test_an_item_without_text_is_its_id_alone() -> None:
    model = head()
    vectors = model(torch.zeros(2, TEXT), torch.tensor([3, -1]))
    torch.testing.assert_close(vectors[0], model.ids.weight[3])
    assert (vectors[1] == 0).all()


def test_texts_are_centred_and_scaled_by_the_catalogues() -> None:
    torch.manual_seed(0)
    texts = torch.randn(500, TEXT) * 3 + 5
    model = ItemHead(500, DIMENSION, TEXT)
    model.fit_texts(torch.cat([texts, torch.zeros(300, TEXT)]))
    scaled = (texts - model.text_mean_t) * model.text_scale
    assert scaled.mean(0).abs().max() < 1e-4
    assert abs(float(scaled.square().mean()) - 1) < 1e-3


def test_interests_are_probabilities_of_the_direction_and_not_of_the_popularity() -> None:
    torch.manual_seed(0)
    model = InterestHead(DIMENSION, 3)
    vectors = torch.randn(4, DIMENSION)
    probabilities = model(vectors)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    louder = torch.cat([vectors[:, :-1] * 7, vectors[:, -1:] + 5], 1)
    torch.testing.assert_close(model(louder), probabilities)
    model.temperature.fill_(100.0)
    assert (model(vectors) - 1 / 3).abs().max() < 0.02
    assert model(torch.zeros(1, DIMENSION)).isfinite().all()


def test_a_share_of_interests_follows_the_base_rates() -> None:
    torch.manual_seed(0)
    model = InterestHead(DIMENSION, 3)
    vectors, expected = torch.randn(4, DIMENSION), torch.tensor([0.7, 0.2, 0.1])
    before = model(vectors)
    model.surprise.fill_(0.25)
    model.base_rates.copy_(expected)
    torch.testing.assert_close(model(vectors), 0.75 * before + 0.25 * expected)
