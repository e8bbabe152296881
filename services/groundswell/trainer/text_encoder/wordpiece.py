"""Trains a WordPiece vocabulary on texts, as a tokenizer in BERT's form."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNKNOWN = "[UNK]"
_INSIDE = "##"
_LONGEST_WORD = 256
_RARE = 2


def train_wordpiece(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learn up to `vocabulary` word pieces; every character of the texts is one, however many.

    Words are split at spaces and punctuation, and each Chinese character is a word. The same texts
    give the same tokenizer.
    """
    learner = _empty({})
    # The trainer numbers pieces from within words in the order of a hash table, and breaks ties by
    # number: only what it is told as special tokens has a fixed place.
    inside = [f"{_INSIDE}{character}" for character in _inside_words(learner, texts)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=_RARE,
        special_tokens=[*SPECIAL, *inside],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    tokenizer = _empty(learner.get_vocab())
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return tokenizer


def _empty(vocabulary: dict[str, int]) -> Tokenizer:
    model = models.WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD)
    tokenizer = Tokenizer(model)
    # Accents stay: without them Hindi loses its vowels, Vietnamese its tones.
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=True, strip_accents=False, handle_chinese_chars=True, clean_text=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _inside_words(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return the texts' characters that do not end a word, so that no new word is unknown."""
    characters = {c for text in texts for c in tokenizer.normalizer.normalize_str(text)}
    pairs = ((c, tokenizer.pre_tokenizer.pre_tokenize_str(c + c)) for c in sorted(characters))
    return [character for character, pieces in pairs if len(pieces) == 1]
