"""The language of docstrings, comments and Markdown: rules that a reader of English as a second language can rely on.

``python -m tests.support.language [FOLDER]`` prints a table of the words and sentences of a source tree.
"""

import ast
import inspect
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("mimic", "seed", "benchmarks", "tests")
"""Folders of Python code, below the root."""
PROGRAM: Final = ("mimic", "seed")
"""Folders of the program, whose texts users read."""
LONGEST_SENTENCE: Final = 30
OTHERS: Final = (
    *(".env.example", "Dockerfile", "Makefile", "docker-compose.yml", "pyproject.toml"),
    *("docs/prometheus-alerts.yml", "docs/grafana-dashboard.json", "mimic/page/index.html", "mimic/page/*.js"),
)
"""Files in other languages, whose comments and texts follow the same words."""
NOT_OURS: Final = frozenset({"build", "dist", "node_modules", "site", "seeded_by_0_1"})
"""Folders of generated files, or of data."""

POINTERS: Final = frozenset(
    {
        *("What", "Who", "Whose", "Where", "Whether", "How", "When", "Which", "Why", "Whatever", "Whoever", "However"),
        *("That", "Those", "This", "These", "It", "Its", "They", "Their", "Them", "Such", "There", "Same", "One"),
        *("Others", "And", "Also", "But", "So"),
    }
)
"""First words that a docstring may not have: they name nothing."""
POINTING_WORDS: Final = frozenset({"what", "who", "whom", "whose", "those", "one", "ones", "such", "so", "it", "this"})
DIALECT: Final = (
    r"moods?",
    r"befall(?:s|en|ing)?|befell",
    r"beset(?:s|ting)?",
    r"spoil(?:s|t|ed|ing)?",
    r"mishaps?",
    r"anew",
    r"seldom",
    r"misspelt",
    r"nicer",
    r"surely",
    r"thereof|whereby|whereof|hitherto",
    r"tells|told",
    r"whoever|whichever",
    r"somebody|anybody|everybody|nobody",
    r"worked out",
    r"look(?:s|ed)? after",
    r"who(?:ever)? says",
    r"one's own",
    r"let go of|lets go of",
)
"""Patterns of words that are not to be used. Most are ten to a hundred times as rare in other code bases."""
_DIALECT: Final = re.compile(rf"\b(?:{'|'.join(DIALECT)})\b|(?:^|[.!?]\s+)Besides\b", re.IGNORECASE)


class Text(NamedTuple):
    """A piece of text, and the line where it begins."""

    line: int
    text: str


class Block(NamedTuple):
    """A paragraph, heading, list item or table cell of Markdown, line by line."""

    kind: str
    lines: tuple[Text, ...]

    @property
    def text(self) -> str:
        """All lines, joined with spaces."""
        return " ".join(line.text for line in self.lines)


# Files


def python_files(root: Path = ROOT, folders: Iterable[str] = CODE) -> list[Path]:
    """The Python files of a source tree."""
    return sorted(file for folder in folders for file in (root / folder).rglob("*.py") if _is_ours(file, root))


def markdown_files(root: Path = ROOT, *patterns: str) -> list[Path]:
    """The Markdown files of a source tree that match one of the patterns, or all."""
    found = {file for pattern in patterns or ("**/*.md",) for file in root.glob(pattern)}
    return sorted(file for file in found if _is_ours(file, root))


def other_files(root: Path = ROOT) -> list[Path]:
    """The files of a source tree that are neither Python nor Markdown, and that people read."""
    return sorted(file for pattern in OTHERS for file in root.glob(pattern))


def _is_ours(file: Path, root: Path) -> bool:
    """Return True unless a folder of the path is hidden, generated or data."""
    folders = file.relative_to(root).parts[:-1]
    return not any(folder.startswith(".") or folder in NOT_OURS for folder in folders)


# Python


def docstrings(source: str) -> Iterator[Text]:
    """Yield the docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(ast.parse(source)):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield Text(statement.lineno, text)


def messages(source: str) -> Iterator[Text]:
    """Yield the texts of at least four words that are no docstrings: help, errors, and lines of the log."""
    tree = ast.parse(source)
    lines = {text.line for text in docstrings(source)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node.lineno not in lines and len(text.split()) >= _LEAST_WORDS:
                yield Text(node.lineno, text)


def comments(source: str) -> Iterator[Text]:
    """Yield the comments, without those for linters."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            yield Text(token.start[0], token.string.lstrip("#:! "))


# Markdown

_LEAST_WORDS: Final = 4
_FENCE: Final = re.compile(r"(`{3,}|~{3,})")
_MARKER: Final = re.compile(r"(?:[-*+]|\d+[.)]|:(?=\s)|\[\^[^\]]+\]:)(?:\s+(?:\[[ xX]\]\s+)?|$)")
_DIRECTIVE: Final = re.compile(r"(?:!!!|\?\?\?\+?|===|:{3,}|--8<--)(?:\s|\{|$)|\[[^\]^]+\]:\s|(?:-{3,}|\*{3,}|_{3,})$")
"""Lines that hold no prose: admonitions, tabs, link definitions, rules."""
_CODE_INDENT: Final = 4


def blocks(source: str) -> Iterator[Block]:  # noqa: C901, PLR0912 - one pass over the lines, one branch a kind
    """Yield the blocks of Markdown, without code, comments, front matter and HTML tags."""
    kind, pending, fence, nested = "paragraph", list[Text](), "", False
    for number, raw in enumerate(_without_comments(source).splitlines(), 1):
        line = re.sub(r"^(?:\s*>)+ ?", "", raw)
        text = line.strip()
        fenced = _FENCE.match(text)
        if fence:
            fence = "" if fenced and text.startswith(fence) and text == fenced[1] else fence
            continue
        indent = len(line) - len(line.lstrip())
        marker = _MARKER.match(text)
        is_code = indent >= _CODE_INDENT and not nested and not pending
        if not text or fenced or is_code or _DIRECTIVE.match(text) or text.startswith(("#", "|")) or marker:
            if pending:
                yield Block(kind, tuple(pending))
            kind, pending = "paragraph", []
        if text and not indent and not marker:
            nested = text.startswith(("!!!", "???", "===")) or (nested and bool(pending))
        if fenced:
            fence = fenced[1]
        elif not text or is_code or _DIRECTIVE.match(text):
            continue
        elif text.startswith("#"):
            yield Block("heading", (Text(number, text.strip("# ")),))
        elif text.startswith("|"):
            for cell in _cells(text):
                yield Block("cell", (Text(number, cell),))
        elif marker:
            kind, nested = "item", True
            pending = [Text(number, text[marker.end() :])]
        else:
            pending.append(Text(number, text))
    if pending:
        yield Block(kind, tuple(pending))


def _without_comments(source: str) -> str:
    """Blank out front matter, HTML comments and HTML tags of several lines; lines keep their numbers."""

    def blank(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    source = re.sub(r"\A---\n.*?\n---$", blank, source, flags=re.DOTALL | re.MULTILINE)
    source = re.sub(r"<!--.*?-->", blank, source, flags=re.DOTALL)
    return re.sub(r"<(?:img|source|picture|video|a|p|div)\s[^<>]*\n[^<>]*>", blank, source)


def _cells(row: str) -> Iterator[str]:
    """Yield the cells of a row of a table; of a row of dashes, none."""
    for cell in re.split(r"(?<!\\)\|", row.strip("|")):
        if not re.fullmatch(r"\s*:?-+:?\s*", cell):
            yield cell.strip()


_CODE_SPAN: Final = re.compile(r"(`+)(?!`)(?:.*?[^`])??\1(?!`)")
_SPOKEN: Final = (
    (_CODE_SPAN, "Code"),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), "Image"),
    (re.compile(r"<https?://[^>]*>"), "Link"),
    (re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^>]*>"), ""),
    (re.compile(r"\{[#.:%][^}]*\}"), ""),
    (re.compile(r"\*+|(?<!\w)_+|_+(?!\w)"), ""),
)
"""Markup, and the words that stand for it in a sentence."""


def spoken(text: str) -> str:
    """Return text without markup: a code span, an image and an address are one word each."""
    for pattern, replacement in _SPOKEN:
        text = pattern.sub(replacement, text)
    return text.strip()


# Sentences

_ABBREVIATIONS: Final = frozenset({"e.g.", "i.e.", "cf.", "vs.", "ca.", "approx.", "no.", "nos.", "fig.", "pp.", "dr."})
_OPENING: Final = "\"'\u201c\u2018(["
_END: Final = re.compile(r"[.!?…][\"'\u201d\u2019)\]]*(?=\s|$)")


def sentences(text: str) -> list[str]:
    """Split text without markup into sentences.

    A sentence ends with a full stop, a question mark or an exclamation mark before a capital, a digit or a bracket.
    Abbreviations and dots between digits do not end it.
    """
    found, start = list[str](), 0
    for end in _END.finditer(text):
        rest = text[end.end() :].lstrip()
        if _ends(text[start : end.end()], rest):
            found.append(text[start : end.end()].strip())
            start = end.end()
    return [*found, last] if (last := text[start:].strip()) else found


def _ends(sentence: str, rest: str) -> bool:
    """Return True if a sentence ends between the two parts of a text."""
    word = sentence.rsplit(maxsplit=1)[-1].strip(_OPENING)
    if word.lower() in _ABBREVIATIONS or (word == "..." and rest.startswith("Code")):
        return False
    first = rest.lstrip(_OPENING)[:1]
    return not rest or first.isupper() or first.isdigit()


def words(text: str) -> list[str]:
    """Return the words of text without markup. Dashes, arrows and operators are none."""
    return [word for word in text.split() if any(character.isalnum() for character in word)]


# Rules


def vague_docstrings(source: str) -> Iterator[Text]:
    """Yield the first words of docstrings that begin with a pointer."""
    for line, text in docstrings(source):
        first = re.match(r"\W*([A-Za-z]+)", text)
        if first and first[1] in POINTERS:
            yield Text(line, text.strip().splitlines()[0])


def long_docstrings(source: str) -> Iterator[Text]:
    """Yield the sentences of docstrings that have more than thirty words."""
    for line, docstring in docstrings(source):
        for offset, sentence in long_sentences(inspect.cleandoc(docstring)):
            yield Text(line + offset - 1, sentence)


def long_sentences(source: str) -> Iterator[Text]:
    """Yield the sentences of Markdown that have more than thirty words."""
    for block in blocks(source):
        for sentence in _sentences_of(block):
            if len(words(sentence)) > LONGEST_SENTENCE:
                lines = [line.line for line in block.lines if sentence[:20] in spoken(line.text)]
                yield Text(min(lines, default=block.lines[0].line), f"{len(words(sentence))} words: {sentence}")


def badly_broken_lines(source: str) -> Iterator[Text]:
    """Yield the lines of Markdown that hold two sentences, or end within one. A title in bold may come first."""
    for block in blocks(source):
        if block.kind not in {"paragraph", "item"}:
            continue
        for place, line in enumerate(block.lines):
            _, text = _title_and_text(line.text)
            parts = sentences(spoken(text))
            if len(parts) > 1:
                yield Text(line.line, f"two sentences: {parts[0]} | {parts[1]}")
            is_last = place == len(block.lines) - 1
            if not is_last and set(words(" ".join(parts))) - {"Image"} and not _END.search(parts[-1][-4:]):
                yield Text(line.line, f"sentence goes on in the next line: {parts[-1]}")


def dialect(source: str, *, markdown: bool) -> Iterator[Text]:
    """Yield the lines of docstrings and comments, or of Markdown, with words that are not to be used."""
    if markdown:
        texts = [line for block in blocks(source) for line in block.lines]
    else:
        texts = [
            Text(text.line + offset, line)
            for text in (*docstrings(source), *comments(source))
            for offset, line in enumerate(text.text.splitlines())
        ]
    yield from _dialect_in(texts)


def dialect_in_messages(source: str) -> Iterator[Text]:
    """Yield the messages to users with words that are not to be used."""
    yield from _dialect_in(messages(source))


def dialect_in_lines(source: str) -> Iterator[Text]:
    """Yield the lines of any file with words that are not to be used."""
    yield from _dialect_in(Text(number, line) for number, line in enumerate(source.splitlines(), 1))


def _dialect_in(texts: Iterable[Text]) -> Iterator[Text]:
    for line, text in texts:
        if found := _DIALECT.findall(_CODE_SPAN.sub("", text.strip())):
            yield Text(line, f"{', '.join(found)}: {text.strip()}")


def _title_and_text(text: str) -> tuple[str, str]:
    """A title in bold at the beginning, which ends with a full stop or a colon, and the text after it."""
    title = re.match(r"\*\*[^*]+(?:[.:?!]\*\*|\*\*[.:])(?=\s|$)", text)
    return (title[0], text[title.end() :]) if title else ("", text)


def _sentences_of(block: Block) -> list[str]:
    """Return the sentences of a block, with a title in bold as a sentence of its own."""
    title, text = _title_and_text(block.text)
    return [*([spoken(title)] if title else []), *sentences(spoken(text))]


# Figures


def report(root: Path) -> str:
    """Return a table of words and sentences in README, docs and docstrings."""
    prose = {
        "README": [
            s for f in markdown_files(root, "README.md") for b in blocks(f.read_text()) for s in _sentences_of(b)
        ],
        "docs": [
            s for f in markdown_files(root, "docs/**/*.md") for b in blocks(f.read_text()) for s in _sentences_of(b)
        ],
    }
    found = {folder: _docstrings_below(root, folder) for folder in CODE}
    found = {"docstrings": [text for texts in found.values() for text in texts], **found}
    for name, texts in found.items():
        prose[name] = [s for text in texts for paragraph in _paragraphs(text) for s in sentences(spoken(paragraph))]
    rows = [f"{'':12}{'words':>8}{'sentences':>11}{'median':>8}{'p95':>6}{'pointing words':>16}"]
    rows += [f"{name:12}{_figures(found_sentences)}" for name, found_sentences in prose.items()]
    rows += ["", f"{'':12}{'docstrings':>12}   begin with"]
    rows += [f"{name:12}{_first_words(texts)}" for name, texts in found.items()]
    return "\n".join(rows)


def _docstrings_below(root: Path, folder: str) -> list[str]:
    return [
        text
        for file in python_files(root)
        if file.relative_to(root).parts[0] == folder
        for _, text in docstrings(file.read_text())
    ]


def _paragraphs(docstring: str) -> list[str]:
    """The paragraphs of a docstring, without indented examples."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return [" ".join(paragraph.split()) for paragraph in paragraphs if not paragraph.startswith(" ")]


def _figures(found: list[str]) -> str:
    lengths = sorted(len(words(sentence)) for sentence in found) or [0]
    plain = [word for sentence in found for word in re.findall(r"[a-z]+", sentence.lower())]
    pointing = sum(word in POINTING_WORDS for word in plain) / max(len(plain), 1)
    p95 = lengths[int(0.95 * (len(lengths) - 1))]
    return f"{sum(lengths):8,}{len(found):11,}{statistics.median(lengths):8.0f}{p95:6}{pointing:16.1%}"


def _first_words(texts: Iterable[str]) -> str:
    firsts = Counter(match[1] for text in texts if (match := re.match(r"\W*([A-Za-z]+)", text)))
    total = max(firsts.total(), 1)
    pointers = {word: number for word, number in firsts.most_common() if word in POINTERS}
    named = ", ".join(f"{word} {number / total:.1%}" for word, number in pointers.items())
    return f"{total:12,}   {sum(pointers.values()) / total:.1%} a pointer ({named or 'none'})"


if __name__ == "__main__":
    sys.stdout.write(report(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT) + "\n")
