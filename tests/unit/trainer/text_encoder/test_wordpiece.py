"""A vocabulary of a catalogue's own text: nothing of it is unknown."""

from pathlib import Path

from tokenizers import Tokenizer

from groundswell.trainer.text_encoder.tokens import TokenIds
from groundswell.trainer.text_encoder.wordpiece import train_wordpiece
from tests.support.texts import captions

HINDI = "नदी का शांत घर"


def test_every_character_of_the_texts_is_in_the_vocabulary_even_of_a_smaller_one() -> None:
    texts = [*captions(30, 3), "Quiet river 🎉", HINDI]
    tokenizer = train_wordpiece(texts, 10)
    tokens = [token for text in texts for token in tokenizer.encode(text).tokens]
    assert "[UNK]" not in tokens
    assert "🎉" in tokens


def test_each_chinese_character_is_a_token_of_its_own() -> None:
    tokenizer = train_wordpiece(["感谢快手", "快手感谢"], 100)
    assert tokenizer.encode("手快感谢").tokens == ["[CLS]", "手", "快", "感", "谢", "[SEP]"]


def test_words_that_come_often_are_one_token_and_case_does_not_count() -> None:
    tokenizer = train_wordpiece(["quiet river", "Quiet house", "QUIET night"], 200)
    assert tokenizer.encode("quiet Quiet").tokens == ["[CLS]", "quiet", "quiet", "[SEP]"]


def test_a_new_word_of_known_characters_is_known() -> None:
    """Each of them is known within a word too, though the texts have it only at a start."""
    tokenizer = train_wordpiece(["x y z"], 100)
    assert tokenizer.encode("xyz").tokens == ["[CLS]", "x", "##y", "##z", "[SEP]"]


def test_accents_and_vowel_signs_are_kept() -> None:
    tokenizer = train_wordpiece([HINDI], 200)
    pieces = tokenizer.encode(HINDI).tokens[1:-1]
    assert "".join(piece.removeprefix("##") for piece in pieces) == HINDI.replace(" ", "")


def test_the_same_texts_give_the_same_tokenizer_also_from_its_file(tmp_path: Path) -> None:
    texts = captions(50, 5)
    tokenizer = train_wordpiece(texts, 300)
    assert tokenizer.to_str() == train_wordpiece(texts, 300).to_str()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.encode(texts[3]).ids == tokenizer.encode(texts[3]).ids


def test_ids_put_together_again_are_what_the_tokenizer_says() -> None:
    texts = ["一二三", "丁"]
    tokenizer = train_wordpiece(texts, 100)
    token_ids = TokenIds(tokenizer, 4)
    batch = token_ids.batch(token_ids.encode(texts))
    whole = tokenizer.encode(texts[0]).ids
    # Two of the four tokens are the special ones.
    assert batch.input_ids[0].tolist() == [*whole[:3], whole[-1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.inner.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert token_ids.mask_token() == tokenizer.token_to_id("[MASK]")
