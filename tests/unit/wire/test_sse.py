"""``mimic.wire.sse``: the frames of a stream, one by one and all at once."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic import tokens
from mimic.wire.sse import DetailedStream, InTurn, Template, TokenStream, texts_of

TEMPLATE = Template(b"data: <", b">\n\n")


def stream(text: str) -> TokenStream:
    """A text with a constant end."""
    return TokenStream(TEMPLATE, tokens.encode(text), b"end")


@given(st.text(max_size=40))
def test_texts_of_tokens_make_the_text(text: str) -> None:
    """As JSON: for a character of several tokens all but the last add nothing."""
    texts = texts_of(tokens.encode(text))
    assert "".join(map(msgspec.json.decode, texts)) == text
    assert len(texts) == tokens.count(text)


def test_a_character_that_is_cut_off_adds_nothing() -> None:
    """A limit of tokens may end within a character; its neighbours are there."""
    encoded = tokens.encode("a 𒀀 b")
    texts = texts_of(encoded)
    assert "".join(map(msgspec.json.decode, texts)) == "a 𒀀 b"
    assert b'""' in texts
    cut = texts.index(b'""') + 1
    assert "".join(map(msgspec.json.decode, texts_of(encoded[:cut]))).strip() == "a"


@pytest.mark.parametrize("texts", [["one two three"], [""], ["one", "", "a longer one"], ["你好𒀀", "x"]])
def test_a_stream_at_once_has_the_frames_of_one_step_by_step(texts: Sequence[str]) -> None:
    """The frames between the opening and the ending are equal."""
    streams = [stream(text) for text in texts]
    steps = streams[0] if len(streams) == 1 else InTurn(streams)
    found = list(steps)
    assert len(found) == max([1, *map(tokens.count, texts)])
    assert steps.whole(b"opening", b"ending") == b"opening" + b"".join(found) + b"ending"
    assert b"".join(found).count(b"end") == len(texts)


@pytest.mark.parametrize("text", ["one two three", "", "你好𒀀"])
def test_details_stand_between_the_parts_of_the_template(text: str) -> None:
    """Each token has its own; without details in the template, the frames are those of a plain stream."""
    plain = stream(text)
    details = [b"%d" % number for number, _ in enumerate(plain.tokens)]
    detailed = DetailedStream(TEMPLATE.before, b"|", TEMPLATE.after, plain.tokens, details, plain.end)
    expected = [frame.replace(b">", b"|%d>" % number) for number, frame in enumerate(plain)]
    assert list(detailed) == expected
    assert detailed.whole(b"opening", b"ending") == b"opening" + b"".join(expected) + b"ending"
