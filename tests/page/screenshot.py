"""Takes the picture of the page that README and guide show: ``python -m tests.page.screenshot``."""

import io
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

from mimic.testing import MimicServer
from tests.support.browser import chromium

PICTURE: Final = Path(__file__).parents[2] / "docs" / "images" / "page.png"
MESSAGE: Final = "how do i centre a div"
"""A message with another spelling than the one of the sample corpus."""


def main() -> None:
    """Ask the message, and write what a visitor sees, in 256 colours."""
    with (
        tempfile.TemporaryDirectory() as folder,
        MimicServer() as server,
        chromium(Path(folder), "--hide-scrollbars") as browser,
    ):
        browser.open(server.url, width=1120, height=825)
        browser.find("#welcome")
        browser.ask(MESSAGE)
        browser.driver.execute_script("document.activeElement.blur(); document.querySelector('#log').scrollTop = 0")
        Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).quantize(256).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
