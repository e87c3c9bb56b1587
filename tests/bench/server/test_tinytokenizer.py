from bench.server.tinytokenizer import SPECIALS, WORDS, tokenizer_json, vocabulary

VOCAB = vocabulary()


def test_tokens_are_all_bytes_word_prefixes_and_specials_each_once() -> None:
    assert len(set(VOCAB.tokens)) == len(VOCAB.tokens) == 256 + len(VOCAB.merges) + len(SPECIALS)
    assert VOCAB.tokens[-len(SPECIALS) :] == SPECIALS


def test_at_most_one_merge_ever_applies() -> None:
    space = VOCAB.tokens[ord(" ")]
    assert all(left.startswith(space) and len(right) == 1 for left, right in VOCAB.merges)
    assert not any(right == space for _, right in VOCAB.merges)


def test_merges_reach_every_word() -> None:
    known = set(VOCAB.tokens[:256])
    for left, right in VOCAB.merges:
        assert left in known and right in known
        known.add(left + right)
    assert {f"Ġ{word}" for word in WORDS} <= known
    assert {VOCAB.tokens[i] for i in VOCAB.word_ids} == {f"Ġ{word}" for word in WORDS}


def test_words_are_distinct_lower_case_ascii() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_hugging_face_gets_the_same_ids() -> None:
    content = tokenizer_json(VOCAB)
    ids = content["model"]["vocab"]
    assert [ids[token] for token in VOCAB.tokens] == list(range(len(VOCAB.tokens)))
    assert {entry["content"]: entry["id"] for entry in content["added_tokens"]} == {
        text: ids[text] for text in SPECIALS
    }
