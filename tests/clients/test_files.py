"""Files, uploads, batches and moderations through OpenAI's SDK for Node; tests/http asks through the one for Python."""

from pathlib import Path

from tests.clients.chats import HELLO, SEA
from tests.clients.test_node_sdk import run
from tests.support.node import Command

QUESTIONS = ("hi", "Tell me about the sea")


def test_files_and_batches_through_the_node_sdk(node: tuple[Command, Path], base_url: str) -> None:
    """A file is stored and read, joined from parts, and answered line by line; texts are checked."""
    asked = run(node, base_url, "files.mjs", *QUESTIONS)
    assert asked["files"] == {"content": "hello", "listed": True, "deleted": True, "lives": 3600}
    assert asked["uploads"] == {"status": "completed", "content": "helloworld"}
    assert asked["batches"] == {
        "status": "completed",
        "counts": {"total": 2, "completed": 2, "failed": 0},
        "texts": [["id-0", HELLO], ["id-1", SEA]],
    }
    assert asked["moderations"] == [[False, False], [True, True]]
