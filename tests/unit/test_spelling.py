"""Suggestions for misspelled words."""

from mimic.spelling import MAX_CHARACTERS, closest, shown


def test_the_most_similar_word_is_found() -> None:
    """Words that are not similar, and long texts, get no suggestion."""
    known = ["MIMIC_MATCH", "MIMIC_HOST", "MIMIC_HOSTS"]
    assert [closest(word, known) for word in ("MIMIC_MACTH", "MIMIC_HOTS", "MIMIC_HOSTSS", "PATH", "")] == [
        *("MIMIC_MATCH", "MIMIC_HOSTS", "MIMIC_HOSTS", None, None),
    ]
    long = "x" * MAX_CHARACTERS
    assert (closest(long, [long]), closest(f"{long}x", [long])) == (long, None)


def test_a_long_text_is_repeated_in_part() -> None:
    """A message repeats only the beginning of a long text."""
    assert shown("short") == "short"
    assert shown("x" * 1000) == "x" * 200 + "..."
