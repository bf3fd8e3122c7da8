"""The command line: commands to seed, serve, export and list what is stored, and to ask a server."""

import click

from mimic import __version__
from mimic.cli.client import chat, search
from mimic.cli.export import export
from mimic.cli.recordings import recordings
from mimic.cli.records import records
from mimic.cli.seed import seed
from mimic.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="mimic")
def main() -> None:
    """Mimic: an OpenAI-style chat API that answers from real conversations.

    Settings come from the environment and from a file .env; options take precedence over both.
    """


main.add_command(seed)
main.add_command(serve)
main.add_command(records)
main.add_command(recordings)
main.add_command(export)
main.add_command(chat)
main.add_command(search)
