"""``python -m mimic.testing``: the process of a :class:`mimic.testing.MimicServer`, which seeds and then serves."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def _seed_and_serve(arguments: Sequence[str]) -> None:
    """What the process runs: both commands, one after the other, so that everything is loaded once."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from mimic.cli import main  # noqa: PLC0415 - not to be loaded into the caller

    # Only if empty: where the port was taken, this is the second time.
    code = main(["seed", "--quiet", "--if-empty", "--not-nice", *arguments], standalone_mode=False)
    if code:
        sys.exit(code)
    main(["serve"])


def _end_with_caller() -> None:
    """Standard input ends when the caller does, whatever ended it."""
    os.read(0, 1)
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    if sys.platform == "win32":
        os.kill(os.getpid(), signal.SIGTERM)  # which nothing can catch there
    else:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _seed_and_serve(sys.argv[1:])
