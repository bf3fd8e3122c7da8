"""Two workers of Mimic without the checks of ``mimic serve``: ``python -m tests.support.unsupervised``."""

import uvicorn

from mimic.server.observability.logs import configure_logs


def main() -> None:
    """Serve on a free port by the settings in the environment."""
    configure_logs()
    uvicorn.run("mimic.app:from_environment", factory=True, workers=2, port=0, log_config=None)


if __name__ == "__main__":
    main()
