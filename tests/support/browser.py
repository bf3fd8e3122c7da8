"""A real Chromium without a window, driven through its WebDriver."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, TypeVar, cast

import pytest
from axe_core_python.base import AXE_SCRIPT
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")

SECONDS_TO_WAIT: Final = 30
SHORTEST_PAUSE: Final = 0.03
LONGEST_PAUSE: Final = 0.25
"""Seconds between looks at a page. A look takes 5 ms of processor time."""
SHIFT: Final = 8
"""The modifier of a key, in the numbers of Chromium."""
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
    # A page lives for a second: compiling its code in other threads, into fast code, takes longer than running it.
    "--js-flags=--single-threaded --no-opt --no-maglev",
)
VISIBLE: Final = """
const seen = { visibilityProperty: true, opacityProperty: true };
const found = [...document.querySelectorAll(arguments[0])].find((found) => found.checkVisibility(seen));
"""
"""The first visible element. WebDriver needs a request for each element, and one more for the visibility of each."""
PLACE: Final = """
if (!found) return null;
found.scrollIntoViewIfNeeded();
const [{ x, y, width, height }] = found.getClientRects();
const place = [x + width / 2, y + height / 2];
return found.contains(document.elementFromPoint(...place)) ? place : null;
"""
"""The middle of an element, unless another one covers it."""
TEXTS: Final = """
const [css] = arguments;
return [...document.querySelectorAll(css)].map((found) => (found.checkVisibility() ? found.innerText.trim() : ""));
"""
"""The visible texts of elements."""
ADDRESSES: Final = """
return [document.URL, ...performance.getEntriesByType("resource").map(({ name }) => name)];
"""
CHOICE: Final = """
const [css, value] = arguments;
const list = document.querySelector(css);
const option = [...(list?.options ?? [])].find((option) => option.value === value);
if (!option || option.disabled || !list.checkVisibility()) return false;
list.focus();
list.value = value;
for (const name of ["input", "change"]) list.dispatchEvent(new Event(name, { bubbles: true }));
return true;
"""
"""A choice from a list, which WebDriver makes by a script too."""
CONTRAST: Final = "color-contrast"
FINDINGS: Final = """
const [css, options, done] = arguments;
axe.run(css, options).then(({ violations }) => done(violations), (problem) => done(String(problem)));
"""


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
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": False, "enablePage": False})
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

    def open(self, url: str, path: str = "", *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        """Open the page, or another path of the server, as a first visitor, on a screen of this size."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.prefer(scheme)
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        self.logged()
        self.driver.execute_cdp_cmd("Network.disable", {})
        self.sent()
        self._sent = []
        with self._at_each_start("sessionStorage.clear()"):
            self.driver.get(f"{url}/{path}")

    @contextmanager
    def _at_each_start(self, script: str) -> Iterator[None]:
        """Run a script in each new document before its own."""
        added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        yield
        self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def prefer(self, scheme: str) -> None:
        """Prefer light or dark pages, without motion, since a click can miss a moving element."""
        preferences = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, css: str) -> WebElement:
        """The element, once it is there and visible."""
        return self.until(
            lambda: cast("WebElement | None", self.driver.execute_script(f"{VISIBLE} return found", css)), css
        )

    def click(self, css: str) -> None:
        """Click an element with the mouse, once it is there, visible, and not covered."""
        x, y = self.until(lambda: cast("list[float] | None", self.driver.execute_script(VISIBLE + PLACE, css)), css)
        for event in ("mousePressed", "mouseReleased"):
            button = {"type": event, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", button)

    def all(self, css: str) -> list[WebElement]:
        """All matching elements, visible or not."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def until(self, condition: Callable[[], T | None], what: str = "") -> T:
        """Wait for a true value of a function, and return it."""
        until = monotonic() + SECONDS_TO_WAIT
        pause = SHORTEST_PAUSE
        while monotonic() < until:
            with suppress(StaleElementReferenceException):
                if value := condition():
                    return value
            sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)
        pytest.fail(f"{what or 'a true value'} was waited for in vain")

    def texts(self, css: str) -> list[str]:
        """The visible text of each matching element."""
        return cast("list[str]", self.driver.execute_script(TEXTS, css))

    def text_of(self, css: str) -> str:
        """All text of an element, as in the document."""
        return str(self.find(css).get_property("textContent"))

    def type(self, *keys: str) -> None:
        """Press keys at the focus."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def focused(self) -> WebElement:
        """The element that has the focus."""
        return self.driver.switch_to.active_element

    def tab_to(self, css: str, *, back: bool = False) -> None:
        """Move the focus to an element with the tabulator key."""
        key = {"key": "Tab", "windowsVirtualKeyCode": 9, "modifiers": SHIFT if back else 0}
        for _ in range(100):
            for event in ("rawKeyDown", "keyUp"):
                self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": event, **key})
            if self.driver.execute_script("return document.activeElement.matches(arguments[0])", css):
                return
        pytest.fail(f"the keyboard does not lead to {css}")

    def choose(self, css: str, value: str) -> None:
        """Choose from a list."""
        self.until(lambda: self.driver.execute_script(CHOICE, css, value), f"{css}: {value}")

    def ask(self, text: str) -> WebElement:
        """Send a message, and wait for the complete answer."""
        before = len(self.all(".turn.answer"))
        self.driver.execute_script("arguments[0].select()", self.find("#text"))
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})
        self.type(Keys.ENTER)
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

    def addresses(self) -> list[str]:
        """The URLs of the page and of all its requests. Requests that its policy refuses are in the log."""
        return cast("list[str]", self.driver.execute_script(ADDRESSES))

    def record(self) -> None:
        """Begin to record requests, which takes a fifth of the time of opening a page."""
        self.driver.execute_cdp_cmd("Network.enable", {})

    def sent(self) -> list[dict[str, Any]]:
        """The requests of the page that are recorded: `url`, `headers`, `postData`."""
        messages = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        sending = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        self._sent += [parameters["request"] for parameters in sending]
        return self._sent

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.driver.get_log(kind))  # type: ignore[no-untyped-call]

    def faults_of_access(self, part: str = "html") -> list[str]:
        """The findings of axe-core for people with disabilities: each rule, and its place.

        Contrast takes more time than all other rules. It is checked in a part of the page.
        """
        return self._faults("html", {"rules": {CONTRAST: {"enabled": False}}}) + self.faults_of_contrast(part)

    def faults_of_contrast(self, part: str = "html") -> list[str]:
        """The findings of axe-core about colours in a part of the page."""
        return self._faults(part, {"runOnly": [CONTRAST]})

    def _faults(self, css: str, options: dict[str, Any]) -> list[str]:
        if not self.driver.execute_script('return "axe" in window'):
            self.driver.execute_script(AXE_SCRIPT)
        found = self.driver.execute_async_script(FINDINGS, css, {"resultTypes": ["violations"], **options})
        assert isinstance(found, list), found
        return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
