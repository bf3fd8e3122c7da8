# ruff: noqa: RUF001 - people write these characters
"""The language of a short text, as far as it matters for a substitute: its script, and common words of Latin ones."""

import re
import unicodedata
from itertools import islice
from typing import Final

READ_CHARACTERS: Final = 200
"""Number of letters at the start of a text that decide its script."""
READ_WORDS: Final = 60
"""Number of words at the start of a text that decide its language."""
LATIN: Final = "LATIN"
_KANA: Final = ("HIRAGANA", "KATAKANA")
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_WORDS: Final = {
    "en": "the a an and is are was what how why who when where which can could do does did you your i i'm it it's of "
    "to in for with my me that this on not be have has will would should tell write give make explain please "
    "hello thanks",
    "de": "der die das und ist sind war was wie warum wer wann wo welche kann kannst ich du sie mir mich dir nicht "
    "ein eine einen von zu im für mit auf den dem hast habe bin bist bitte danke hallo guten wird auch noch ja "
    "nein",
    "fr": "le la les l et est sont que quoi qui quel quelle comment pourquoi quand où peux peut je tu vous nous il "
    "elle un une des du de ne pas pour avec sur dans mon ma mes votre bonjour merci salut être avez suis ça "
    "c'est oui non",
    "es": "el la los las y es son qué que cómo como por para quién cuándo dónde cuál puedo puedes puede yo tú usted "
    "un una de del en no con mi mis me te se hola gracias buenos buenas está estoy hay muy sí",
    "pt": "o a os as e é são que quê como por para quem quando onde qual posso pode você eu um uma do da dos das em "
    "no na não com meu minha me se olá obrigado obrigada bom boa está estou há muito sim tudo bem",
    "it": "il lo la gli le e è sono che cosa come perché chi quando dove quale posso puoi può io tu un uno una di "
    "del della in non con per mio mia mi ti si ciao grazie buongiorno sei ho hai molto sì",
    "nl": "de het een en is zijn was wat hoe waarom wie wanneer waar welke kan kun ik jij je u mij niet van naar in "
    "voor met op mijn hallo bedankt goedemorgen ben heb heeft ook nog ja nee dank",
}
"""Common words of languages in Latin script, with those of greetings and questions."""
_LANGUAGES: Final = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def script_of(text: str) -> str:
    """The script of most letters at the start of a text: the first word of their Unicode names.

    Kana mark Japanese, which shares other characters with Chinese. A text without letters gives an empty name.
    """
    counts: dict[str, int] = {}
    for character in islice(filter(str.isalpha, text), READ_CHARACTERS):
        name = unicodedata.name(character, "").partition(" ")[0]
        if name in _KANA:
            return _KANA[0]
        counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__, default="")


def language_of(text: str) -> str:
    """The script of a text; for Latin script its language, or an empty text if its words do not show one.

    Words of several languages are taken for English, the first one.
    """
    script = script_of(text)
    if script != LATIN:
        return script
    words = [found.group().lower() for found in islice(_WORD.finditer(text), READ_WORDS)]
    counts = {language: sum(word in common for word in words) for language, common in _LANGUAGES.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ""
