"""Encode every message of a dump with Mimic and with OpenAI's tokenizer: compare tokens and times.

    python -m benchmarks.tokens dump.json [--rounds 7]

tiktoken downloads its vocabulary unless TIKTOKEN_CACHE_DIR has it. Exit code 1 if any message's tokens differ.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import tiktoken

from mimic import tokens


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=7, show_default=True, help="Timed rounds of each, in turn.")
def main(dump: Path, rounds: int) -> None:
    """Compare, and show the median ratio of their times."""
    texts = [message["value"] for element in json.loads(dump.read_bytes()) for message in element["conversations"]]
    theirs = tiktoken.get_encoding("o200k_base").encode_ordinary
    wrong = sum(tokens.encode(text) != theirs(text) for text in texts)
    times = [(seconds(tokens.encode, texts), seconds(theirs, texts)) for _ in range(rounds)]
    total = sum(tokens.count(text) for text in texts)
    click.echo(
        f"{len(texts):,} texts, {total:,} tokens, {wrong} wrong; {total / median(ours for ours, _ in times) / 1e6:.1f} "
        f"million tokens a second, {median(other / ours for ours, other in times):.1f} times tiktoken's"
    )
    sys.exit(1 if wrong else 0)


def seconds(encode: Callable[[str], list[int]], texts: list[str]) -> float:
    """The time of encoding all texts, in seconds."""
    started = time.perf_counter()
    for text in texts:
        encode(text)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
