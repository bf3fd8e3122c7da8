# ruff: noqa: RUF001 - people write these characters
"""The language of a short text."""

import pytest

from mimic.engine.languages import language_of, script_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is machine learning?", "en"),
        ("Recommend a good book", "en"),
        ("Wie ist das Wetter heute?", "de"),
        ("Que peux-tu faire ?", "fr"),
        ("¿Qué puedes hacer?", "es"),
        ("Obrigado", "pt"),
        ("Come stai? Non ho capito", "it"),
        ("Waarom is het zo koud?", "nl"),
        ("Что ты умеешь?", "CYRILLIC"),
        ("今天天气怎么样？", "CJK"),
        ("何ができますか？", "HIRAGANA"),
        ("asdf", ""),
        ("12 + 3", ""),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    """Common words distinguish languages in Latin script; other scripts stand for themselves."""
    assert language_of(text) == language
    assert script_of(text) == (language if language.isupper() else "LATIN" if any(map(str.isalpha, text)) else "")
