"""The command line, for ``python -m mimic``."""

from mimic.cli import main

if __name__ == "__main__":
    main()
