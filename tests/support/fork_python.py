"""Forks interpreters off a process that has loaded httpx and OpenAI's client, and nothing of Mimic.

A forked interpreter runs a script, as ``python`` does. Its environment has no variables that change the start of an
interpreter.
"""

import atexit
import runpy
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

from tests.support.fork_server import ForkServer, fork_on_request, run_to_end


class PythonForkServer(ForkServer):
    """The forking process, as seen by the program that has started it."""

    PROGRAM: ClassVar[Sequence[str]] = ("-P", __file__)


@cache
def python_fork_server() -> PythonForkServer:
    """The fork server of interpreters of this process, started at the first call and ended with this process."""
    server = PythonForkServer()
    atexit.register(server.close)
    return server


def main() -> None:
    """The forking process and, after a fork, the interpreter of the requested script."""
    _load()
    if program := fork_on_request():
        _, arguments = program
        sys.argv[:] = arguments
        sys.path.insert(0, str(Path(arguments[0]).absolute().parent))
        run_to_end(partial(runpy.run_path, arguments[0], run_name="__main__"))


def _load() -> None:
    from openai import OpenAI  # noqa: PLC0415 - not for the program that starts this one

    # A client loads most of its modules at the first use.
    with OpenAI(api_key="unused", base_url="http://127.0.0.1:9/v1") as client:
        _ = client.chat.completions, client.responses, client.beta.threads, client.webhooks


if __name__ == "__main__":
    main()
