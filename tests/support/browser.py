"""A real Chromium without a window, driven through its WebDriver."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pytest
from axe_core_python.selenium import Axe
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

T = TypeVar("T")

SECONDS_TO_WAIT: Final = 30
QUIET: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_or_skip() -> tuple[str, str]:
    """The programs chromium and chromedriver; skips without them."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium and driver:
        return chromium, driver
    message = "no Chromium: put chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def chromium(folder: Path, *arguments: str) -> Iterator["Browser"]:
    """A new browser profile that connects to no server except those of the pages."""
    program, driver_program = chromium_or_skip()
    options = ChromeOptions()
    options.binary_location = program
    for argument in (*QUIET, *arguments, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """The actions and views of a person at the page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self._sent: list[dict[str, Any]] = []

    def open(self, url: str, *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        """Open the page as a first visitor, on a screen of this size."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.prefer(scheme)
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        self.driver.get(f"{url}/")
        self.driver.execute_script("sessionStorage.clear()")
        self.logged()
        self.sent()
        self._sent = []
        self.driver.refresh()

    def prefer(self, scheme: str) -> None:
        """Prefer light or dark pages, without motion, since a click can miss a moving element."""
        preferences = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, css: str) -> WebElement:
        """The element, once it is there and visible."""
        return self.until(lambda: next((found for found in self.all(css) if found.is_displayed()), None), css)

    def all(self, css: str) -> list[WebElement]:
        """All matching elements, visible or not."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def until(self, condition: Callable[[], T | None], what: str = "") -> T:
        """Wait for a true value of a function, and return it."""
        waiting = WebDriverWait(self.driver, SECONDS_TO_WAIT, 0.05, [StaleElementReferenceException])
        return cast("T", waiting.until(lambda _: condition(), what or "what was waited for"))

    def text_of(self, css: str) -> str:
        """All text of an element, as in the document."""
        return str(self.find(css).get_property("textContent"))

    def type(self, *keys: str) -> None:
        """Press keys at the focus."""
        self.focused().send_keys(*keys)

    def focused(self) -> WebElement:
        """The element that has the focus."""
        return self.driver.switch_to.active_element

    def tab_to(self, css: str, *, back: bool = False) -> None:
        """Move the focus to an element with the tabulator key."""
        for _ in range(100):
            self.type(Keys.SHIFT + Keys.TAB if back else Keys.TAB)
            if self.driver.execute_script("return document.activeElement.matches(arguments[0])", css):
                return
        pytest.fail(f"the keyboard does not lead to {css}")

    def choose(self, css: str, value: str) -> None:
        """Choose from a list."""
        Select(self.find(css)).select_by_value(value)

    def ask(self, text: str) -> WebElement:
        """Send a message, and wait for the complete answer."""
        before = len(self.all(".turn.answer"))
        box = self.find("#text")
        box.clear()
        box.send_keys(text, Keys.ENTER)
        return self.answer_after(before)

    def answer_after(self, count: int) -> WebElement:
        """The answer after a number of others, once it is complete."""
        return self.until(lambda: next(iter(self.all(".turn.answer:not([aria-busy])")[count:]), None), "an answer")

    def overflow(self) -> int:
        """Pixels by which the page is wider than the screen."""
        root = "document.documentElement"
        return max(0, int(self.driver.execute_script(f"return {root}.scrollWidth - {root}.clientWidth")))

    def logged(self) -> list[str]:
        """The messages of the page's log and of its policy, without answers that are errors."""
        return [entry["message"] for entry in self._log("browser") if entry["source"] != "network"]

    def sent(self) -> list[dict[str, Any]]:
        """The requests since the page was opened: `url`, `headers`, `postData`."""
        messages = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        sending = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        self._sent += [parameters["request"] for parameters in sending]
        return self._sent

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.driver.get_log(kind))  # type: ignore[no-untyped-call]

    def faults_of_access(self, *rules: str) -> list[str]:
        """The findings of axe-core for people with disabilities: each rule, and its place. Without rules: by all."""
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        found = Axe().run(self.driver, options=options)["violations"]
        return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
