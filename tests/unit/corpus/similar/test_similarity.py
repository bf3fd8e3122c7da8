"""The similarity of texts."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.similar import similarity
from mimic.corpus.similar.similarity import excerpt, likeness, normalized, parts, terms, trigrams

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "hello"),
        ("  Hello,\n\tWORLD!!! ", "hello, world"),
        ("«¿Qué?»", "qué"),
        ("Straße", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("ﬁne ①", "fine 1"),
        ("Ｈｅｌｌｏ　Ｗｏｒｌｄ！", "hello world"),  # noqa: RUF001
        ("你好，世界。", "你好,世界"),  # noqa: RUF001
        ("e\u0301", "é"),
        ("don't", "don't"),
        ("C++", "c++"),
        ("?!", "?!"),
        ("...", "..."),
        ("", ""),
        ("👍", "👍"),
        ("i\u0307", "i\u0307"),
        ("İ", "i\u0307"),
    ],
)
def test_texts_that_differ_in_how_they_are_written_are_equal(text: str, expected: str) -> None:
    """Case, width, composition, white space, and outer punctuation are ignored; inner punctuation is not."""
    assert normalized(text) == expected


@given(TEXTS)
def test_normalization_is_idempotent(text: str) -> None:
    """A second normalization changes nothing, and upper case equals lower case if it can be reversed."""
    once = normalized(text)
    assert once is not None
    assert normalized(once) == once
    assert normalized(f" {text}\n") == once


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\uff9e\u0316", "\u0f73\u0316", "\u0344\u0316"])
def test_marks_without_end_are_not_normalized(marks: str) -> None:
    """Sorting endless marks would take a second, for all requests; the numbers that languages use are normalized."""
    assert normalized("a" + marks * 9000) is None
    assert normalized("b" * similarity.SHORT + "a" + marks * 16) is None
    assert normalized(("a" + marks * 15) * 300) is not None
    assert likeness(trigrams("a" + marks * 9000), trigrams("None")) == 0


def test_the_cache_of_characters_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of characters is bounded, and results without it are right."""
    monkeypatch.setattr(similarity, "_MARKS", marks := similarity._Marks(100))
    assert normalized("".join(map(chr, range(0x4E00, 0x4E00 + 2000)))) is not None
    assert len(marks) == 100
    assert normalized("\u0301\u0316" * 1000) is None


def test_long_texts_are_not_normalized() -> None:
    """A long normalization would delay other requests."""
    assert normalized("x" * similarity.LONGEST_NORMALIZED) is not None
    assert normalized("x" * (similarity.LONGEST_NORMALIZED + 1)) is None


def test_terms_are_words_and_pairs_of_characters_where_words_have_no_blanks() -> None:
    """Terms are lower-case words with their counts, or pairs of characters; a single such character is a term."""
    assert sorted(terms("The cat, the CAT; don't_stop 42")) == ["42", "cat", "cat", "don", "stop", "t", "the", "the"]
    assert sorted(terms("我喜欢 Python 编程")) == ["python", "喜欢", "我喜", "编程"]
    assert terms("好") == ["好"]
    assert terms("カタカナ") == ["カタ", "タカ", "カナ"]
    assert terms("?! 👍") == []
    assert terms("안녕하세요 세계") == ["안녕하세요", "세계"]


@given(st.text(st.characters(max_codepoint=127)))
def test_short_cuts_for_ascii_give_the_same_terms(text: str) -> None:
    """The short cut finds the terms of the pattern for all scripts."""
    assert terms(text) == similarity._WORD.findall(text.casefold())


@given(st.text(st.sampled_from([*similarity._COMPATIBLE, *"a \u0301\u3042\u3099\u00b4\u00e9Z\u4f60"])))
def test_short_cuts_to_nfkc_lead_there(text: str) -> None:
    """Any order of replacements, with combining marks, leads to NFKC."""
    once = normalize("NFKC", text)
    folded = normalize("NFKC", once.casefold())
    assert similarity._folded(text) == folded


def test_a_long_text_is_known_by_its_beginning_and_its_end() -> None:
    """A long text costs no more than a short one."""
    long = "a" * 5_000 + " middle " + "z" * 5_000
    assert len(excerpt(long)) == similarity.HEAD + similarity.TAIL + 1
    assert excerpt(long).startswith("a") and excerpt(long).endswith("z")  # noqa: PT018
    assert "middle" not in terms(long)
    assert len(excerpt(long, 0.1)) == (similarity.HEAD + similarity.TAIL) // 10 + 1
    assert excerpt("short") == "short"


def test_parts_of_terms_are_no_terms() -> None:
    """Parts of a term are unique, and begin with a character that no term begins with."""
    assert sorted(parts(["hello", "hell"])) == ["__he", "_ell", "_hel", "_ll_", "_llo", "_lo_"]
    assert parts([]) == []


def test_likeness_is_one_for_equal_texts_and_zero_for_nothing_in_common() -> None:
    """Likeness lies between 0 and 1 for texts with a mistake, in another order, or cut in half."""

    def score(one: str, other: str) -> float:
        return likeness(trigrams(one), trigrams(other))

    assert score("Hello, World!", "hello, world") == 1
    assert score("abc", "xyz") == 0
    question = "How do I reverse a linked list in Python?"
    assert score(question, "How do I revrese a linked list in Pyhton?") > 0.6
    assert score(question, "in Python how do I reverse a linked list") > 0.7
    assert score(question, question[: len(question) // 2]) > 0.5
    assert score(question, "What is the capital of France?") < 0.25
    assert score("", "") == 1


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_between_zero_and_one(one: str, other: str) -> None:
    """The property holds for any texts, the empty one and punctuation included."""
    there = likeness(trigrams(one), trigrams(other))
    assert 0 <= there <= 1
    assert there == likeness(trigrams(other), trigrams(one))
    assert likeness(trigrams(one), trigrams(one)) == 1
