"""``python -m mimic.testing``: the process of a :class:`mimic.testing.MimicServer`. It seeds and then serves."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def _seed_and_serve(arguments: Sequence[str]) -> None:
    """Run both commands in one process, so that all modules are loaded once."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from mimic.cli import main  # noqa: PLC0415 - an import of this module loads no commands

    # After a taken port the store is seeded already.
    code = main(["seed", "--quiet", "--if-empty", "--not-nice", *arguments], standalone_mode=False)
    if code:
        sys.exit(code)
    main(["serve"])


def _end_with_caller() -> None:
    """Wait until the caller ends, which closes standard input, then remove the folder and end the process."""
    os.read(0, 1)
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    if sys.platform == "win32":
        os.kill(os.getpid(), signal.SIGTERM)  # cannot be caught on Windows
    else:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _seed_and_serve(sys.argv[1:])
