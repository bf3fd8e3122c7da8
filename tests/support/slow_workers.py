"""``mimic`` with workers that take long to load: ``python -m tests.support.slow_workers serve``."""

import multiprocessing.spawn
import runpy
import time
from typing import Any, Final

SECONDS: Final = 6


def load_slowly() -> None:
    """Let each worker that this process spawns sleep before it reads what to do."""
    begin = vars(multiprocessing.spawn)["_main"]

    def begin_late(*arguments: Any) -> Any:
        time.sleep(SECONDS)
        return begin(*arguments)

    vars(multiprocessing.spawn)["_main"] = begin_late


if __name__ == "__main__":
    load_slowly()
    runpy.run_module("mimic", run_name="__main__", alter_sys=True)
