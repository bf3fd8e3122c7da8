"""The language of docstrings, comments and Markdown follows the rules of ``tests.support.language``."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.language import (
    PROGRAM,
    ROOT,
    Text,
    badly_broken_lines,
    blocks,
    dialect,
    dialect_in_lines,
    dialect_in_messages,
    docstrings,
    long_docstrings,
    long_sentences,
    markdown_files,
    other_files,
    python_files,
    report,
    sentences,
    spoken,
    vague_docstrings,
)

LONG = " ".join(["word"] * 31)
MANY_KINDS = f"""\
---
title: Mood. Of a page
---
# A mood. As a title

<!-- A comment, with a mood.
{LONG} -->
A first sentence, e.g. of v1.2 or i.e. `a. B`.
A second with [a link, it](https://example.org/a.B) and "a quoted text." inside.

1. An item without a full stop
2. An item.
   A second line.

| A cell. Two sentences | {LONG.replace("31", "")[:40]} |
|---|:-:|
| `a\\|b`. | c |

> A quotation.
> Its end.

```sh
{LONG}. A mood. In code
```

- A list, with code:

  ```
  mood. Two
  ```

    Indented prose.

[1]: https://example.org/mood
"""


def named(file: Path, found: Iterable[Text]) -> list[str]:
    """Each finding with its file and line."""
    return [f"{file.relative_to(ROOT)}:{line}: {text}" for line, text in found]


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    """No docstring begins with a pointer such as What, It, This or There."""
    found = [line for file in python_files() for line in named(file, vague_docstrings(file.read_text()))]
    assert not found, "\n" + "\n".join(found)


def test_sentences_are_short() -> None:
    """No sentence of a Markdown file or a docstring has more than thirty words."""
    found = [line for file in markdown_files() for line in named(file, long_sentences(file.read_text()))]
    found += [line for file in python_files() for line in named(file, long_docstrings(file.read_text()))]
    assert not found, "\n" + "\n".join(found)


def test_a_line_of_markdown_is_a_sentence() -> None:
    """No line holds two sentences, and no sentence is wrapped: a change of a sentence changes one line."""
    found = [line for file in markdown_files() for line in named(file, badly_broken_lines(file.read_text()))]
    assert not found, "\n" + "\n".join(found)


def test_words_are_plain() -> None:
    """No docstring, comment, message to users, Markdown file or file of settings has a word of the private dialect."""
    found = [line for file in python_files() for line in named(file, dialect(file.read_text(), markdown=False))]
    found += [line for file in markdown_files() for line in named(file, dialect(file.read_text(), markdown=True))]
    found += [line for file in other_files() for line in named(file, dialect_in_lines(file.read_text()))]
    program = python_files(ROOT, PROGRAM)
    found += [line for file in program for line in named(file, dialect_in_messages(file.read_text()))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        '"""What a module does."""',
        'class A:\n    """Who asks."""',
        'def f():\n    """Where it lies."""',
        'async def f():\n    """\n    Whether it is there.\n    """',
        'A = 1\n"""How many."""',
        'class A:\n    a: int\n    """Which one."""',
        'def f():\n    """``That``, or another."""',
        'if a:\n    A = 1\n    """Those of others."""',
        'def f():\n    """When it ends."""',
        'def f():\n    """It ends."""',
        'def f():\n    """There is an end."""',
        'class A:\n    """Such a one."""',
        'a: int = 1\n"""Same as before."""',
    ],
)
def test_a_vague_docstring_is_found(source: str) -> None:
    """Docstrings of modules, classes, functions and attributes are read."""
    assert len(list(vague_docstrings(source))) == 1


@pytest.mark.parametrize("docstring", ["Item of a list.", "Return what is there.", "Thistles.", "- What", "1"])
def test_other_docstrings_are_not_vague(docstring: str) -> None:
    """Only the first word counts, as a whole word."""
    assert [*vague_docstrings(f'"""{docstring}"""')] == ([Text(1, "- What")] if docstring == "- What" else [])


def test_docstrings_have_the_line_where_they_begin() -> None:
    """Strings that are values are no docstrings."""
    source = '"""One."""\nA = "not"\n"""Two."""\ndef f():\n    """Three."""\n    return "not"\n'
    assert list(docstrings(source)) == [Text(1, "One."), Text(3, "Two."), Text(5, "Three.")]


def test_blocks_of_every_kind() -> None:
    """Code, comments, front matter and link definitions are left out; each block has its kind and line."""
    kinds = [(block.kind, block.lines[0].line) for block in blocks(MANY_KINDS)]
    assert kinds == [
        ("heading", 4),
        ("paragraph", 8),
        *(("item", 11), ("item", 12)),
        *(("cell", 15), ("cell", 15), ("cell", 17), ("cell", 17)),
        ("paragraph", 19),
        ("item", 26),
        ("paragraph", 32),
    ]
    assert not list(badly_broken_lines(MANY_KINDS))
    assert not list(long_sentences(MANY_KINDS))
    assert [line for line, _ in dialect(MANY_KINDS, markdown=True)] == [4]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One sentence. Another one.", [1]),
        ("- One. `code` begins another.", [1]),
        ("> Is it one? It is two.", [1]),
        ("**One.** Two. Three.", [1]),
        ("One (with brackets.) Two.", [1]),
        ("A sentence that\ngoes on.", [1]),
        ("One.\n1. An item that\n   goes on.", [2]),
        ("It lasts 5 s. 20 requests fit.", [1]),
        ("!!! note\n\n    One. Two.", [3]),
        ("One that ends\\\nhere.", [1]),
        ("**One.** Two\nthree.", [1]),
        (":   A definition. Two.", [1]),
    ],
)
def test_a_badly_broken_line_is_found(text: str, lines: list[int]) -> None:
    """Paragraphs, items, quotations, admonitions and definitions are read."""
    assert [line for line, _ in badly_broken_lines(text)] == lines


@pytest.mark.parametrize(
    "text",
    [
        "One.\nTwo.\nThree",
        "**A title.** A sentence.\nAnother one.",
        "Use e.g. Python, i.e. CPython, or vs. Java etc. and v1. or later.",
        "It needs 3.11, RFC 9110, 8.4.1 and `a. B`.",
        'Try "Tell me a joke." or `continue`.\nOr another!',
        "Fields such as `a`, `b` ... `z` are ignored.",
        "A title without an end\n\nA paragraph.",
        "# One. Two\n\nThree.",
        "| One. Two. | three |",
        "    code. In a block\n    Two. Three",
        "~~~\nOne. Two\n~~~",
        "- One.\n- Two\n- Three",
        "[![One. Two](a.svg)](b)\n![Three](c.svg)\n\nFour.",
        '<img alt="One. Two"\n     src="a.png">\nThree.\nFour.',
    ],
)
def test_a_well_broken_line_passes(text: str) -> None:
    """Abbreviations, versions, code and quotations do not end a sentence; headings, cells and code are left out."""
    assert not list(badly_broken_lines(text))


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"- {LONG}.",
        f"| a | {LONG} |",
        f"> {LONG}",
        f"A title.\nA {LONG[5:]}",
        f"**A title.** {LONG}.",
        f"# {LONG}",
    ],
)
def test_a_long_sentence_is_found(text: str) -> None:
    """Paragraphs, items, cells, quotations and headings are read, and the words counted."""
    [(line, found)] = long_sentences(text)
    assert line == 1 + text.count("\n")
    assert "31 words" in found


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("word ", "", 1),
        "`" + LONG + "` is one word.",
        f"[{LONG[:40]}](https://example.org/a_b)",
        f"```\n{LONG}\n```",
        f"| {LONG[:100]} | {LONG[:100]} |",
        f"{LONG[:100]}. W{LONG[1:100]}",
        f"**{LONG[:100]}.** {LONG[:100]}",
        LONG[:140].replace("word ", "- — = word "),
    ],
)
def test_a_short_sentence_passes(text: str) -> None:
    """A code span is one word, a cell and a title in bold are texts of their own, and a dash is no word."""
    assert not list(long_sentences(text))


@pytest.mark.parametrize(
    ("text", "number"),
    [("Moods of a server", 1), ("It is seeded\nanew", 1), ("Besides, it is", 1), ("`mood` and moody", 0), ("so", 0)],
)
def test_a_word_of_the_dialect_is_found(text: str, number: int) -> None:
    """Docstrings, comments and Markdown are read, without their code."""
    comment = "# " + text.replace("\n", "\n# ")
    for source in (f'"""{text}"""', f"a = 1  {comment}", f'def f():\n    """A function.\n\n    {text}\n    """'):
        assert len(list(dialect(source, markdown=False))) == number
    assert len(list(dialect(text, markdown=True))) == number
    assert not list(dialect(f"a = {text!r}", markdown=False))


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ('raise ValueError("it is broken: seed anew")', 1),
        ('raise ValueError(f"{a} is broken, and surely {b} is too")', 1),
        ('log.info("somebody took it")', 0),
        ('"""A docstring that is read elsewhere, anew."""', 0),
    ],
)
def test_a_word_of_the_dialect_in_a_message_is_found(source: str, number: int) -> None:
    """Texts of at least four words are messages; shorter ones may be names and values."""
    assert len(list(dialect_in_messages(source))) == number


def test_a_word_of_the_dialect_in_another_file_is_found() -> None:
    """Lines are read as they are, comments and values alike."""
    source = "# Adapt this.\n# Whoever asks for a pace adapts it.\nsummary: a mood\n"
    assert [line for line, _ in dialect_in_lines(source)] == [2, 3]
    assert {".env.example", "prometheus-alerts.yml", "index.html"} <= {file.name for file in other_files()}


def test_a_long_sentence_in_a_docstring_is_found() -> None:
    """The line is that of the sentence, and items of a list are sentences of their own."""
    source = f'def f():\n    """A function.\n\n    - {LONG[:60]}\n    - {LONG[:100]}\n\n    {LONG}.\n    """\n'
    [(line, found)] = long_docstrings(source)
    assert line == 7
    assert "31 words" in found


def test_spoken_text_has_no_markup() -> None:
    """Code spans, images and addresses become one word; links and emphasis leave their text."""
    text = "**Bold**, _it_, a_b, `` a`b `` ![an image](a.png) <https://example.org> [a link](b) [another][c] <br>{#id}"
    assert spoken(text) == "Bold, it, a_b, Code Image Link a link another"


def test_sentences_end_before_a_capital() -> None:
    """A dot before a small letter is inside a sentence."""
    assert sentences("One. two. Three? (Four.) 5 six") == ["One. two.", "Three?", "(Four.)", "5 six"]


def test_the_report_names_each_part(tmp_path: Path) -> None:
    """Words and sentences are counted, and docstrings that begin with a pointer are listed by it."""
    (tmp_path / "README.md").write_text("# A title\n\nOne two three. Four `five six`.\n")
    (tmp_path / "mimic").mkdir()
    (tmp_path / "mimic" / "a.py").write_text('"""What one does."""\nA = 1\n"""A number."""\n')
    lines = {line.split()[0]: line.split()[1:] for line in report(tmp_path).splitlines() if line.split()}
    assert lines["README"][:4] == ["7", "3", "2", "2"]
    assert lines["mimic"] == ["2", "50.0%", "a", "pointer", "(What", "50.0%)"]
