"""Creates an application by the environment, and prints the names of all loaded modules, one a line."""

import os
import sys

from mimic.app import create_app
from mimic.settings import Settings

if __name__ == "__main__":
    create_app(Settings.from_environment(os.environ))
    sys.stdout.write("\n".join(sys.modules))
