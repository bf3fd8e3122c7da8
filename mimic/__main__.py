"""``python -m mimic``: the command line."""

from mimic.cli import main

if __name__ == "__main__":
    main()
