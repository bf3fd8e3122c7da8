"""The command line: commands to seed, serve, export and list what is stored, and to ask a server."""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from mimic import __version__

MODULES: Final[Mapping[str, str]] = {
    "chat": "mimic.cli.client",
    "export": "mimic.cli.export",
    "recordings": "mimic.cli.recordings",
    "records": "mimic.cli.records",
    "search": "mimic.cli.client",
    "seed": "mimic.cli.seed",
    "serve": "mimic.cli.serve",
}
"""The module of each command. It has a function with the command's name."""


class Commands(click.Group):
    """A group that imports the module of a command at its first use: other modules would slow its start."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        command: click.Command = getattr(import_module(MODULES[cmd_name]), cmd_name)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="mimic")
def main() -> None:
    """Mimic: an OpenAI-style chat API that answers from real conversations.

    Settings come from the environment and from a file .env; options take precedence over both.
    """
