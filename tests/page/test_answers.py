"""Answers on the page: Markdown, JSON, tool calls, similar messages, the journal, and the chat as code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.talks import MARKDOWN, QUOTES, REPLY, STREAMED
from tests.support.browser import Browser
from tests.support.corpora import SMALL
from tests.support.documents import SAMPLE
from tests.support.servers import ForkedMimicServer

ALLOWED: Final[Mapping[str, str]] = {
    "a": "href target rel title",
    "button": "type class aria-label",
    "div": "class tabindex role aria-label",
    "ol": "start",
    "pre": "tabindex",
    **dict.fromkeys(("h4", "span", "td", "th"), "class"),
    **dict.fromkeys(("bdi", "blockquote", "br", "code", "em", "hr", "li", "p", "s", "strong", "ul"), ""),
    **dict.fromkeys(("table", "tbody", "thead", "tr"), ""),
}
"""The elements and attributes of an answer as Markdown."""

NESTED: Final = {
    "quotations": "> " * 5000 + "end",
    "forty quotations": "> " * 40 + "end",
    "signs": ">" * 10_000 + "end",
    "lists": "".join(f"{'  ' * level}- item\n" for level in range(40)) + "- end",
    "numbers": "1. " * 5000 + "end",
    "emphasis": "*a " * 4000 + "a* " * 4000 + "end",
    "links": "[" * 500 + "end" + "](https://example.com)" * 500,
    "brackets": "[" * 20_000 + "end",
    "stars": "*a **b _c " * 3000 + "end",
    "fences": "- ```\n" * 2000 + "end",
}
MILLISECONDS: Final = 10_000
"""The time that one of these may take: a parser that backtracks takes minutes."""

WRITTEN: Final = """
const [text, ends, done] = arguments;
import("/page/markdown.js").then(({ MarkdownView }) => {
    const holder = document.createElement("div");
    const view = new MarkdownView(holder);
    const seen = () => {
        const copy = holder.cloneNode(true);
        for (const bar of copy.querySelectorAll(".code-bar")) bar.remove();
        const blocks = [...holder.children].map(({ tagName }) => tagName);
        return { text: copy.textContent.replace(/\\s+/g, ""), blocks };
    };
    const changes = [];
    let shown = { text: "", blocks: [] };
    let steps = 0;
    for (const end of [...ends, text.length]) {
        view.show(text.slice(0, end), end === text.length);
        const now = seen();
        const areSame = shown.blocks.every((block, index) => now.blocks[index] === block);
        if (!areSame || !now.text.startsWith(shown.text)) {
            changes.push([text.slice(Math.max(0, end - 50), end), shown.text.slice(-50), now.text.slice(-50)]);
        }
        if (now.text !== shown.text) steps++;
        shown = now;
        if (holder.children.length > 1) holder.firstChild.dataset.kept = "yes";
    }
    const whole = document.createElement("div");
    new MarkdownView(whole).show(text, true);
    const { kept } = holder.firstChild.dataset;
    delete holder.firstChild.dataset.kept;
    done({ changes, steps, kept, shown, isWhole: whole.isEqualNode(holder) });
}, (problem) => done(String(problem)));
"""
"""Shows a text up to each of some ends. Changes are those other than additions."""


def written(page: Browser, text: str, ends: Iterable[int]) -> Any:
    """Show a text on the page as it grows."""
    return page.driver.execute_async_script(WRITTEN, text, list(ends))


def call(page: Browser, module: str, function: str, *arguments: Any) -> Any:
    """The result of a function of the page's module."""
    script = f"""
        const done = arguments[arguments.length - 1];
        import("/page/{module}").then(({{ {function} }}) => done({function}(...arguments[0])));
    """
    return page.driver.execute_async_script(script, arguments)


def elements(page: Browser, css: str) -> list[tuple[str, dict[str, str]]]:
    """The elements within one: the name and the attributes of each."""
    script = """
        return [...document.querySelector(arguments[0]).querySelectorAll("*")].map((found) =>
            [found.localName, Object.fromEntries([...found.attributes].map(({ name, value }) => [name, value]))]);
    """
    return [(name, attributes) for name, attributes in page.driver.execute_script(script, css)]


def test_answers_are_markdown(page: Browser) -> None:
    """Headings, emphasis, lists, tables, quotations, rules, code and links are elements; a picture is a link."""
    page.ask("show me markdown")
    names = [name for name, _ in elements(page, ".markdown")]
    wanted = {
        "h4",
        "strong",
        "em",
        "s",
        "code",
        "ol",
        "ul",
        "li",
        "table",
        "th",
        "td",
        "blockquote",
        "hr",
        "pre",
        "a",
        "br",
    }
    assert wanted <= set(names)
    links = [(link.text, link.get_attribute("href")) for link in page.all(".markdown a")]
    assert links == [("link", "https://example.com/a?b=c"), ("picture", "https://example.com/x.png")]
    assert page.text_of(".markdown pre") == "def f(x):\n    return x + 1\n"
    assert page.text_of(".markdown .code-bar .hint") == "python"
    assert page.texts(".markdown td") == ["a", "1", "b", "2"]
    page.click("#plain-text")
    assert page.text_of(".turn.answer .text") == MARKDOWN
    page.click("#plain-text")
    assert page.text_of(".markdown h4") == "Plan"
    assert page.faults_of_access(".markdown") == []


def test_code_is_copied_with_the_keyboard(page: Browser) -> None:
    """The button copies exactly the text of its block, and says so."""
    page.ask("show me markdown")
    page.tab_to(".copy", back=True)
    page.type(Keys.ENTER)
    page.until(lambda: page.text_of("#telling") == "Copied")
    page.find("#text").send_keys(Keys.CONTROL, "v")
    assert page.find("#text").get_property("value") == "def f(x):\n    return x + 1\n"


def test_each_paragraph_has_its_own_direction(page: Browser) -> None:
    """An answer in Arabic begins at the right, its lists too; a paragraph in English and code begin at the left."""
    page.ask("arabic please")
    script = """
        const answer = document.querySelector(".markdown");
        const begin = (part) => {
            const range = document.createRange();
            range.selectNodeContents(part);
            const [text, all] = [range.getBoundingClientRect(), answer.getBoundingClientRect()];
            return text.left - all.left < all.right - text.right ? "left" : "right";
        };
        return [...answer.querySelectorAll("p, pre")].map(begin);
    """
    assert page.driver.execute_script(script) == ["right", "right", "left", "left"]
    assert page.find(".markdown").get_attribute("dir") == "rtl"


def test_hostile_markdown_is_text(page: Browser) -> None:
    """No HTML of an answer becomes an element, and no link leads elsewhere than to the web or to mail."""
    page.ask("be hostile")
    found = elements(page, ".markdown")
    assert {name for name, _ in found} <= ALLOWED.keys()
    assert all(attributes.keys() <= set(ALLOWED[name].split()) for name, attributes in found)
    targets = [attributes["href"] for name, attributes in found if name == "a"]
    assert targets == ["https://example.com/", "mailto:a@example.com", "https://evil.example/x.png"]
    text = page.text_of(".markdown")
    for part in (
        "<script>",
        "onerror",
        "<svg",
        "<math",
        "<style>",
        "<form",
        "<iframe",
        "javascript:alert(4)",
        "data:text/html",
    ):
        assert part in text
    assert page.driver.title == "Mimic"
    assert page.find("#text").is_displayed()


def test_nesting_is_bounded(modules: Browser) -> None:
    """Deep nesting makes a shallow tree in a bounded time, whole and in parts; up to 100 levels, the text is kept."""
    script = """
        const [texts, done] = arguments;
        import("/page/markdown.js").then(({ MarkdownView }) => {
            const depth = (node) => (node.children.length ? 1 + Math.max(...[...node.children].map(depth)) : 0);
            done(texts.map((text) => {
                const holder = document.createElement("div");
                const view = new MarkdownView(holder);
                const began = performance.now();
                view.show(text, false);
                view.show(text, true);
                return [performance.now() - began, depth(holder), holder.textContent.includes("end")];
            }));
        });
    """
    measured = modules.driver.execute_async_script(script, list(NESTED.values()))
    for name, (milliseconds, depth, is_kept) in zip(NESTED, measured, strict=True):
        assert milliseconds < MILLISECONDS, name
        assert depth < 40, name
        assert is_kept or name in {"quotations", "signs", "numbers"}, name


def test_a_megabyte_of_markdown_fits(page: Browser) -> None:
    """The page shows the beginning of the answer as Markdown, and names the part that it leaves out."""
    answer = page.ask("a megabyte of markdown")
    assert "900,000 more characters are not shown" in answer.text
    assert len(page.all(".markdown strong")) > 90
    assert page.overflow() == 0
    page.click("#new-chat")
    assert "hello" in page.ask("hi").text


@pytest.mark.parametrize("step", [1, 7])
def test_partial_markdown_does_not_flicker(modules: Browser, step: int) -> None:
    """A text that grows is only added to: no sign of markup is seen, no block becomes another, and the end is right."""
    found = written(modules, STREAMED, range(step, len(STREAMED), step))
    assert found["changes"] == []
    assert found["isWhole"]
    assert found["steps"] > len(STREAMED) / step / 4  # it is shown while it arrives


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_sample_corpus_does_not_flicker(modules: Browser) -> None:
    """Of all answers of the sample corpus, after each character, at most one shows a change other than an addition."""
    talks = json.loads(SAMPLE.read_text())
    answers = [said["value"] for talk in talks for said in talk["conversations"] if said["from"] == "gpt"]
    assert len(answers) > 700
    changes = [change for text in answers for change in written(modules, text, range(1, len(text)))["changes"]]
    assert len(changes) <= 1, changes


def test_only_the_last_block_is_rendered_again(modules: Browser) -> None:
    """A mark that a test leaves on the first block is still there at the end."""
    found = written(modules, "one\n\ntwo\n\nthree **four**", [8, 14])
    assert found["kept"] == "yes"
    assert found["shown"] == {"text": "onetwothreefour", "blocks": ["P", "P", "P"]}


def test_links_may_come_before_their_addresses(modules: Browser) -> None:
    """At the end of an answer, its definitions apply to all of it."""
    found = written(modules, "See [it].\n\nLater\n\n[it]: https://example.com\n", [18])
    assert found["isWhole"]
    assert found["shown"] == {"text": "Seeit.Later", "blocks": ["P", "P"]}


def test_json_is_indented_and_can_be_folded(page: Browser) -> None:
    """An answer in JSON has line breaks, and its numbers as they are written; Enter folds it."""
    page.ask("json please")
    assert page.text_of(".answer .code code") == (
        '{\n  "a": [\n    1.50,\n    12345678901234567890,\n    {}\n  ],\n  "b": "x\\n{y}"\n}'
    )
    page.tab_to(".folded summary", back=True)
    page.type(Keys.ENTER)
    page.until(lambda: not page.find(".answer .folded").get_property("open"))
    for same in ("not { json", '{"a": 1', "[" * 60 + "]" * 60, "12"):
        assert call(page, "code.js", "indented", same) == same


def test_a_tool_is_offered_called_and_answered(page: Browser) -> None:
    """The example is called; the result that a person writes is sent, and the chat goes on."""
    page.record()
    page.click("#offer summary")
    page.find("#tools").send_keys("{")
    page.find("#text").send_keys("hi", Keys.ENTER)
    assert page.driver.execute_script("return document.querySelector('#tools').validationMessage").startswith(
        "This is not JSON"
    )
    assert page.all(".turn") == []
    page.click("#example-tools")
    page.find("#text").clear()
    page.ask("What is the weather in Paris?")
    assert page.find(".calls summary").text == "Tool call get_weather"
    assert json.loads(page.text_of(".calls code:not(summary code)")) == {"city": "Paris"}
    assert page.faults_of_access("#chat") == []
    page.tab_to(".results textarea", back=True)
    page.type('{"degrees": 21}')
    page.tab_to(".results button")
    page.type(Keys.ENTER)
    assert "degrees" in page.answer_after(1).text
    assert not page.all(".results")
    assert page.text_of(".turn.answer .folded:not(.calls *) summary") == "Result of get_weather"
    first, second = [json.loads(one["postData"]) for one in page.sent() if one["url"].endswith("/completions")]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["get_weather"]
    question, called, result = second["messages"]
    assert question == {"role": "user", "content": "What is the weather in Paris?"}
    assert called["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert result == {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": '{"degrees": 21}'}


def test_a_miss_shows_the_most_similar_messages(page: Browser) -> None:
    """The list has scores, and a click asks the message."""
    page.choose("#match", "last")
    page.ask("please tell me a story!")
    page.until(lambda: page.all(".similar li"))
    text, score = page.find(".similar li").text.splitlines()
    assert text == "tell me a story"
    assert 0.5 < float(score) < 1
    assert page.faults_of_access("#chat") == []
    page.click(".similar button")
    assert "word0 word1" in page.answer_after(1).text


def test_the_journal_is_read_while_it_is_in_view(page: Browser) -> None:
    """Requests appear within a second or two; filters apply; an open entry stays open; out of view nothing is read."""
    page.ask("hi")
    page.choose("#match", "last")
    page.ask("nobody ever said this at all")
    page.driver.execute_script("document.querySelector('#journal').scrollIntoView()")
    page.until(lambda: page.texts("#requests .status")[:2] == ["404", "200"])
    page.choose("#journal-status", "refused")
    assert set(page.texts("#requests .status")) == {"404"}
    page.choose("#journal-status", "")
    page.choose("#journal-route", "/v1/chat/completions")
    page.until(lambda: set(page.texts("#requests .path")) == {"POST /v1/chat/completions"})
    page.tab_to("#requests summary")
    page.type(Keys.ENTER)
    entry = json.loads(page.text_of("#requests details[open] code"))
    assert (entry["status"], entry["model"]) == (404, "mimic-v3")
    assert page.faults_of_access("#journal") == []
    sent = httpx.post(f"{page.driver.current_url}v1/chat/completions", json={}).headers["x-request-id"]
    page.until(lambda: page.all(f"#requests li:first-child[data-id^='{sent}']"))
    assert json.loads(page.text_of("#requests details[open] code")) == entry
    assert page.driver.execute_script("return document.activeElement.closest('details').open")

    def reads() -> int:
        return sum("/mimic/requests" in one["url"] for one in page.sent())

    page.record()
    page.until(lambda: reads() > 0)
    page.driver.execute_script("scrollTo(0, 0)")
    page.driver.execute_async_script("setTimeout(arguments[0], 100)")  # the observer is called in the next frame
    before = reads()
    page.driver.execute_async_script("setTimeout(arguments[0], 1200)")
    assert reads() == before


def test_a_server_without_a_journal_says_so(browser: Browser) -> None:
    """The page has the setting for a journal; an answer that is not from a match has the similar messages, too."""
    with ForkedMimicServer(SMALL, settings={"MIMIC_JOURNAL": "0", "MIMIC_ON_MISS": "any"}) as server:
        browser.open(server.url)
        browser.find("#text").send_keys("continue qwzx vvkj grmbl", Keys.ENTER)
        browser.answer_after(0)
        assert browser.text_of(".rung") == "none"
        browser.until(lambda: browser.all(".similar li"))
        assert browser.find(".similar .quoted").text == "continue"
        browser.driver.execute_script("document.querySelector('#journal').scrollIntoView()")
        browser.until(lambda: "MIMIC_JOURNAL=1000" in browser.text_of("#journal-outcome"))
        assert not browser.find("#journal").text.count("all routes")
        assert browser.logged() == []


@pytest.fixture
def snippets(page: Browser) -> "Snippets":
    """The chat of the page as code."""
    return Snippets(page)


class Snippets:
    """The panel with the chat as code, and programs that run it."""

    def __init__(self, page: Browser) -> None:
        self._page = page

    def __getitem__(self, form: str) -> str:
        self._page.click("#copy-chat")
        self._page.choose("#copy-as", form)
        text = self._page.text_of("#snippet code")
        self._page.click("#close-copying")
        return text


def run(command: Sequence[str | Path], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with an environment of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(command, input=text, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run_copied(programs: Sequence[str], folder: Path) -> str:
    """Run programs of a folder and then its tests, in one interpreter: each would load OpenAI's library for a second.

    Pytest loads no plugins that the tests do not need.
    """
    names = ("cacheprovider", "faker", "langsmith_plugin", "locust", "schemathesis", "xdist", "hypothesispytest")
    options = ("-q", "-c", os.devnull, *(f"-pno:{name}" for name in names))
    program = f"import {', '.join(programs)}, sys, pytest; sys.exit(pytest.main())"
    return run((sys.executable, "-u", "-c", program, *options, folder), folder).stdout


def test_a_chat_is_copied_as_code_that_runs(page: Browser, snippets: Snippets, tmp_path: Path) -> None:
    """Curl, Python, and pytest get the same answer, also for texts that are hostile to shells, and for tool calls."""
    page.ask("hi")
    page.driver.execute_script("document.querySelector('#text').value = arguments[0]", QUOTES)
    page.click("#send")
    page.answer_after(1)
    page.click("#plain-text")
    assert page.all(".turn.answer .text")[1].get_property("textContent") == REPLY
    curl, python, test = snippets["curl"], snippets["python"], snippets["pytest"]
    assert "\u202e" not in curl + python + test
    answered = run(("bash", "-c", curl), tmp_path)
    assert json.loads(answered.stdout)["choices"][0]["message"]["content"] == REPLY
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.py").write_text(python)
    (tmp_path / "test_text.py").write_text(test)
    (tmp_path / "test_other_text.py").write_text(test.replace(".content == ", ".content == 'x' + "))

    page.click("#new-chat")
    page.click("#offer summary")
    page.click("#example-tools")
    page.ask("What is the weather in Paris?")
    page.find(".results textarea").send_keys("21")
    page.click(".results button")
    page.answer_after(1)
    page.choose("#tool-choice", "required")
    page.ask("And the weather in Rome?")
    (tmp_path / "call.py").write_text(snippets["python"])
    test = snippets["pytest"]
    (tmp_path / "test_call.py").write_text(test)
    (tmp_path / "test_other_call.py").write_text(test.replace("for name, given in expected", "for name, given in []"))
    said = run_copied(["text", "call"], tmp_path)
    assert said.startswith(f"{REPLY}\n"), said
    assert "get_weather" in said.removeprefix(f"{REPLY}\n").splitlines()[0]
    assert not (tmp_path / "pwned").exists()
    assert "2 failed, 2 passed" in said, said
    assert set(re.findall(r"^FAILED \S*test_other_(\w+)\.py", said, re.MULTILINE)) == {"text", "call"}, said


def test_a_failed_request_is_copied_too(page: Browser, tmp_path: Path) -> None:
    """Without an answer the page offers no test, and curl gets the same error."""
    page.ask("hi")
    page.click("#copy-chat")
    page.choose("#copy-as", "pytest")
    page.click("#close-copying")
    page.choose("#match", "last")
    page.choose("#pace", "instant")
    page.ask("nobody ever said this at all")
    page.tab_to("#copy-chat", back=True)
    page.type(Keys.ENTER)
    assert not page.all("#copy-as option[value=pytest]")[0].is_enabled()
    assert page.find("#copy-as").get_property("value") == "curl"
    answered = run(("bash", "-c", page.text_of("#snippet code")), tmp_path)
    assert json.loads(answered.stdout)["error"]["code"] == "completion_not_found"
    assert page.faults_of_access("dialog[open]") == []
    page.type(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog[open]"))


def test_repeated_messages_are_left_out_of_the_test(modules: Browser) -> None:
    """A message that has two answers in the chat would make the answer of the test uncertain."""
    user, reply = {"role": "user", "content": "more"}, {"role": "assistant", "content": "one"}
    body = {"model": "mimic-v3", "messages": [user, reply, user], "stream": True}
    asked = {
        "body": body,
        "headers": {},
        "answer": {"role": "assistant", "content": "two"},
        "hasKey": False,
        "base": "http://a/v1",
    }
    source = call(modules, "snippets.js", "snippets", asked)["pytest"]
    assert source.count('"from": "human"') == 1
    assert source.count('"role": "user"') == 2
