"""The page in a real Chromium, as people see and use it."""

import json
import os
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from mimic.testing import free_port
from tests.page.talks import BIDI, DUMP, LONG, SCRIPT, STORY
from tests.support.browser import Browser
from tests.support.corpora import SMALL, conversation, seed
from tests.support.servers import ForkedMimicServer, Server, run_mimic


def test_a_chat_with_the_keyboard_alone(page: Browser) -> None:
    """The keyboard reaches the chat by the skip link, a message with two lines, the answer, and its conversation."""
    page.type(Keys.TAB)
    assert page.focused().text == "Skip to the chat"
    page.type(Keys.ENTER)
    page.type("hi", Keys.ENTER)
    answer = page.answer_after(0)
    assert "hello" in answer.text
    assert page.text_of(".turn.answer .rung") == "last"
    page.type("continue", Keys.ENTER)
    page.answer_after(1)
    assert page.texts(".rung") == ["last", "previous"]
    said = page.all(".turn.answer .text")[1].text
    assert said in {"more", "so"}
    page.tab_to(".source", back=True)
    source = page.focused().text
    assert re.fullmatch("from (a_0#3|b_0#4)", source)
    page.type(Keys.ENTER)
    marked = page.find("#said [aria-current=true]")
    assert marked.text.splitlines() == [f"gpt #{source[-1]}", said]
    assert page.text_of("#conversation-heading") == f"Conversation {source[5:8]}"
    page.type(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog[open]"))
    assert page.focused().text == source


def test_shift_and_enter_break_the_line(page: Browser) -> None:
    """Shift and Enter do not send the message."""
    page.find("#text").send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.SHIFT, "two")
    assert page.find("#text").get_property("value") == "one\ntwo"
    assert page.all(".turn") == []


def test_a_message_is_tried_with_one_click(page: Browser) -> None:
    """The most common messages are offered, and those of the corpus can be put into the composer."""
    offered = page.texts("#suggestions button")
    assert offered[:2] == ["hi", "continue"]
    page.all("#suggestions button")[0].click()
    assert "hello" in page.answer_after(0).text
    page.click(".common ol button")
    assert page.find("#text").get_property("value") == "hi"
    assert page.focused() == page.find("#text")


def test_controls_are_in_the_request(page: Browser) -> None:
    """Each control is in the request; a limit of tokens ends the answer."""
    page.record()
    page.choose("#model", "mimic-v2")
    page.choose("#match", "last")
    page.choose("#pace", "instant")
    page.find("#temperature").send_keys(Keys.HOME)
    page.find("#top-p").send_keys(Keys.ARROW_LEFT)
    page.find("#seed").send_keys("7")
    page.find("#max-tokens").send_keys("3")
    page.find("#system").send_keys("be brief")
    answer = page.ask("tell me a story")
    assert "cut at the token limit" in answer.text
    assert "+ 3 tokens" in answer.text
    [request] = [one for one in page.sent() if one["url"].endswith("/v1/chat/completions")]
    assert json.loads(request["postData"]) == {
        "model": "mimic-v2",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "tell me a story"}],
        "temperature": 0,
        "top_p": 0.95,
        "seed": 7,
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert (headers["x-mimic-match"], headers["x-mimic-pace"]) == ("last", "instant")
    page.click("#knobs [type=reset]")
    page.until(lambda: page.text_of("output[for=temperature]") == "1")


def test_the_same_is_asked_again(page: Browser) -> None:
    """The new answer replaces the last one, with the current settings."""
    page.ask("tell me a story")
    page.find("#max-tokens").send_keys("1")
    page.click(".again")
    page.until(lambda: "cut at the token limit" in page.text_of(".turn.answer"))
    assert len(page.all(".turn")) == 2
    page.ask("and then?")
    assert page.texts(".rung") == ["last", "last"]  # after the cut answer, not after the story


def test_a_new_chat_begins_from_nothing(page: Browser) -> None:
    """The messages of the former chat are not matched any more."""
    page.ask("hi")
    page.click("#new-chat")
    assert page.all(".turn") == []
    assert page.find("#welcome").is_displayed()
    page.ask("continue")
    assert page.text_of(".rung") == "last"


def test_a_stream_is_seen_while_it_comes_and_can_be_stopped(browser: Browser) -> None:
    """Escape or the button stops the stream; the received text stays, and the chat continues."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_ITL_MS": "100"}) as server:
        browser.open(server.url)
        browser.find("#text").send_keys("tell me a story", Keys.ENTER)
        browser.until(lambda: "word1" in browser.text_of(".turn.answer[aria-busy] .text"))
        browser.click("#stop")
        stopped = browser.answer_after(0)
        assert "stopped" in stopped.text
        said = browser.text_of(".turn.answer .text")
        assert said
        assert STORY.startswith(said)
        assert len(said) < len(STORY)
        browser.find("#text").send_keys("tell me a story", Keys.ENTER, Keys.ESCAPE)
        browser.answer_after(1)
        browser.choose("#pace", "instant")
        assert "hello" in browser.ask("hi").text
        assert browser.logged() == []


def test_a_broken_stream_is_an_error(browser: Browser) -> None:
    """The received text stays visible, and the message returns to the composer."""
    with ForkedMimicServer(DUMP, settings={"MIMIC_ITL_MS": "100"}) as server:
        browser.open(server.url)
        browser.find("#text").send_keys("tell me a story", Keys.ENTER)
        browser.until(lambda: "word1" in browser.text_of(".turn.answer[aria-busy] .text"))
        server.stop()
        broken = browser.answer_after(0)
        assert "word0 word1" in broken.text
        assert "The answer broke off." in broken.text
        assert browser.find("#text").get_property("value") == "tell me a story"
        assert "The server cannot be reached." in browser.ask("hi").text
        assert browser.logged() == []


def test_a_replaced_source_is_an_error(browser: Browser, sqlite_url: str, tmp_path: Path) -> None:
    """The page reports a source replaced by a new corpus."""
    seed(sqlite_url, SMALL, tmp_path)
    with Server(tmp_path, MIMIC_STORE=sqlite_url) as server:
        browser.open(server.url)
        browser.ask("hi")
        seed(sqlite_url, [conversation("new", ("human", "other"), ("gpt", "things"), ("human", "?"))] * 9, tmp_path)
        browser.click(".source")
        browser.until(lambda: "replaced since" in browser.text_of("#conversation-outcome"))
        assert browser.all("#said li") == []


def test_an_error_has_the_server_s_words(page: Browser) -> None:
    """The message returns to the composer, and the chat continues without it."""
    page.choose("#match", "last")
    answer = page.ask("nobody ever said this at all")
    assert "No completion found for this message" in answer.text
    assert "completion_not_found" in answer.text
    assert page.find(".turn [role=alert]").is_displayed()
    assert page.find("#text").get_property("value") == "nobody ever said this at all"
    page.type("hi", Keys.ENTER)
    assert "hello" in page.answer_after(1).text


def test_hostile_texts_are_texts(page: Browser) -> None:
    """Hostile messages, answers, senders and ids become no element, run nothing, and send nothing."""
    answer = page.ask(SCRIPT)
    assert page.text_of(".turn.user .text") == SCRIPT
    assert page.all(".turn.answer .text")[0].get_property("textContent") in {SCRIPT, f"{SCRIPT} {BIDI}"}
    assert SCRIPT in answer.text
    page.click(".source")
    page.find("#said [aria-current=true]")
    assert page.text_of("#conversation-heading") in {f"Conversation {SCRIPT}#{number}" for number in range(3)}
    assert SCRIPT in page.text_of("#said .who")
    page.click("#close-conversation")
    assert SCRIPT in page.text_of(".shares")
    assert SCRIPT in page.text_of(".common")
    assert "(invisible)" in page.text_of(".common")
    injected = "return document.querySelectorAll('script:not([src]), main img, main b, dialog img, dialog b').length"
    assert page.driver.execute_script(injected) == 0
    assert page.driver.title == "Mimic"


def test_the_browser_holds_the_page_to_its_policy(browser: Browser, url: str) -> None:
    """The policy stops a text that becomes HTML, and requests to other servers, if the code ever fails to."""
    browser.open(url)
    browser.find("#welcome")
    asked = """
        const [done] = arguments;
        let markup = "written";
        try { document.body.innerHTML = "<b>x</b>"; } catch (refusal) { markup = refusal.name; }
        fetch("http://localhost:1/").then(() => done([markup, "sent"]), (refusal) => done([markup, refusal.name]));
    """
    assert browser.driver.execute_async_script(asked) == ["TypeError", "TypeError"]
    refused = " ".join(browser.logged())
    assert "TrustedHTML" in refused
    assert "connect-src" in refused


def test_a_megabyte_without_a_break_fits(page: Browser) -> None:
    """A huge word fits the page's width, and the page names the part that it leaves out."""
    answer = page.ask("endless")
    assert "900,000 more characters are not shown" in answer.text
    page.click(".source")
    assert "980,000 more characters" in page.find("#said [aria-current=true]").text
    page.click("#close-conversation")
    assert page.overflow() == 0


def test_a_long_conversation_is_read_in_both_directions(page: Browser) -> None:
    """The conversation opens at the answer, and leads to its first and its last message."""
    page.ask("message 80")
    page.click(".source")
    assert page.find("#said [aria-current=true]").text.splitlines() == ["gpt #81", "message 81"]
    shown = page.texts("#said li .text")
    assert (shown[0], shown[-1]) == ("message 71", "message 120")
    page.find("#later").send_keys(Keys.ENTER)
    page.until(lambda: len(page.all("#said li")) == 59)
    page.driver.execute_script("const it = document.querySelector('#earlier'); it.click(); it.click();")
    page.until(lambda: len(page.all("#said li")) == 109)
    page.find("#earlier").send_keys(Keys.ENTER)
    page.until(lambda: len(page.all("#said li")) == 130)
    assert page.texts("#said .text") == [m["value"] for m in LONG["conversations"]]
    assert not page.all("#earlier:not([hidden]), #later:not([hidden])")
    assert page.text_of("#conversation-outcome") == "130 messages"


def test_tool_calls_are_readable(page: Browser) -> None:
    """A call is the name of the tool and its arguments, and a result in JSON is indented."""
    page.find("#query").send_keys("is it raining in Oslo", Keys.ENTER)
    page.click("#results button")
    page.until(lambda: len(page.all("#said li")) == 4)
    said = [[part for part in line.splitlines() if part] for line in page.texts("#said li")]
    assert said == [
        ["human #0", "is it raining in Oslo"],
        ["function_call tool call #1", "Tool call get_weather", "Copy", "{", '  "location": "Oslo"', "}"],
        ["observation tool result #2", "Result", "Copy", "{", '  "rain": true', "}"],
        ["gpt #3", "It rains."],
    ]
    assert page.overflow() == 0


def test_the_corpus_is_shown(page: Browser) -> None:
    """The page shows counts, senders, lengths with a text for screen readers, and the most common messages."""
    shown = page.text_of("#profile")
    assert str(len(DUMP)) in page.text_of("#profile > .facts")
    assert all(version in shown for version in ("v1", "v2", "v3"))
    assert page.text_of(".shares").startswith("gpt91 · 48.4%")
    plots = [plot.get_attribute("aria-label") or "" for plot in page.all("[role=img]")]
    assert plots[0].startswith("Conversations: ")
    assert len(plots) >= 3
    assert all(re.search(r"% are of .* the most common range", plot) for plot in plots)
    assert page.texts(".common ol:first-of-type li")[:2] == ["hi\n4", "continue\n3"]


def test_a_search_leads_to_conversations(page: Browser) -> None:
    """By keyboard, results have the most similar first, with scores, and each opens its conversation."""
    page.find("#query").send_keys("mesage 17", Keys.ENTER)
    first = page.find("#results li").text.splitlines()
    assert first[0] == "message 17"
    assert re.fullmatch(r"gpt in long#17", first[1])
    assert re.fullmatch(r"0\.\d\d", first[2])
    page.tab_to("#results button")
    page.type(Keys.ENTER)
    assert page.find("#said [aria-current=true]").text.splitlines() == ["gpt #17", "message 17"]
    page.type(Keys.ESCAPE)
    page.choose("#search-role", "user")
    page.find("#query").send_keys(Keys.ENTER)
    page.until(lambda: page.texts("#results li") and all("human" in hit for hit in page.texts("#results li")))
    page.find("#query").clear()
    page.find("#query").send_keys("qqqqqq", Keys.ENTER)
    page.until(lambda: page.text_of("#search-outcome") == "No answered message is similar.")


def test_the_newest_search_is_the_one_that_is_shown(page: Browser) -> None:
    """A later answer to an older search does not replace the newest."""
    page.driver.execute_script("""
        const { fetch } = window;
        window.fetch = async (...asked) => {
            const answer = await fetch(...asked);
            if (String(asked[0]).includes("mesage")) {
                await new Promise((done) => setTimeout(done, 1000));
                setTimeout(() => { window.isLate = true; }, 300); // when it has been read, too
            }
            return answer;
        };
    """)
    page.find("#query").send_keys("mesage 17", Keys.ENTER)
    page.find("#query").clear()
    page.find("#query").send_keys("message 42", Keys.ENTER)
    page.until(lambda: page.text_of("#results").startswith("message 42"))
    before = page.text_of("#results"), page.text_of("#search-outcome")
    page.until(lambda: page.driver.execute_script("return window.isLate"))
    assert (page.text_of("#results"), page.text_of("#search-outcome")) == before


def test_the_most_similar_message_is_answered(page: Browser) -> None:
    """The answer has its rung and its score."""
    answer = page.ask("please tell me a story!")
    assert page.text_of(".rung") == "nearest"
    score = re.search(r"score (0\.\d\d)", answer.text)
    assert score
    assert STORY[:50] in answer.text


def test_without_an_index_the_search_says_so(browser: Browser, sqlite_url: str, tmp_path: Path) -> None:
    """The page has the command that makes an index."""
    seed(sqlite_url, SMALL, tmp_path, depth="last")
    with Server(tmp_path, MIMIC_STORE=sqlite_url) as server:
        browser.open(server.url)
        said = browser.find("#search-outcome").text
        assert said.startswith("This corpus was seeded without the index for searches.")
        browser.find("#query").send_keys("hi", Keys.ENTER)
        browser.until(lambda: browser.text_of("#search-outcome").startswith("v3 was seeded without the index"))


@pytest.mark.parametrize(("width", "schemes"), [(360, ["dark", "light"]), (768, ["light"]), (1280, ["dark", "light"])])
def test_the_page_is_accessible(page: Browser, width: int, schemes: list[str]) -> None:
    """On a phone, a tablet and a desktop, light and dark, axe-core finds nothing, and the page fits the screen."""

    def faults(new: str) -> list[str]:
        """Faults of the page, by colours in the part that is new: the other parts keep theirs."""
        found = []
        for scheme in schemes:
            page.prefer(scheme)
            assert page.overflow() == 0
            # The schemes differ in their colours only.
            found += page.faults_of_contrast(new) if scheme == "dark" else page.faults_of_access(new)
        return found

    assert faults("html") == []
    page.ask("hi")
    if width > 1000:  # the settings are folded on smaller screens
        page.choose("#match", "last")
    page.ask("nobody ever said this at all")
    page.find("#query").send_keys("message", Keys.ENTER)
    page.until(lambda: page.all("#results li"))
    assert faults("#chat, #search") == []
    page.click(".source")
    page.find("#said [aria-current=true]")
    assert faults("dialog[open]") == []


def test_light_and_dark_are_the_visitor_s_choice(page: Browser) -> None:
    """The page follows the system's setting until the visitor chooses another; the choice lasts."""

    def paper() -> Any:
        return page.driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor")

    light = paper()
    page.prefer("dark")
    dark = paper()
    assert light != dark
    page.choose("#theme", "light")
    assert paper() == light
    page.driver.refresh()
    page.find("#welcome")
    assert paper() == light
    page.prefer("light")
    page.choose("#theme", "dark")
    assert paper() == dark


def test_an_empty_store_says_how_to_seed(browser: Browser, sqlite_url: str, tmp_path: Path) -> None:
    """The page continues by itself after a seeding, and shows each file with its SHA-256."""
    with Server(tmp_path, MIMIC_STORE=sqlite_url) as server:
        browser.open(server.url)
        assert "mimic seed --sample" in browser.find("#empty").text
        assert not browser.find("main").text.count("Send")
        assert browser.faults_of_access() == []
        files = [tmp_path / "one.json", tmp_path / "two.json"]
        for file in files:
            file.write_text(json.dumps(SMALL))
        run_mimic(["seed", "--quiet", "--store", sqlite_url, *files], {})
        browser.find("#welcome")
        sources = [source.splitlines() for source in browser.texts(".sources li")]
        digest = sha256(files[0].read_bytes()).hexdigest()
        assert [(source[0], source[-1]) for source in sources] == [(file.name, digest) for file in files]
        assert not browser.all("#empty:not([hidden])")
        assert "hello" in browser.ask("hi").text
        assert browser.logged() == []


def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Browser) -> None:
    """A wrong key is an error; the right one opens everything, and is in the session's storage only."""
    with ForkedMimicServer(SMALL, settings={"MIMIC_API_KEYS": "sk-right-one"}) as server:
        browser.open(server.url)
        assert browser.faults_of_access() == []
        assert not browser.all(".common li")
        browser.find("#key-text").send_keys("sk-wrong-one", Keys.ENTER)
        browser.until(lambda: "Incorrect API key" in browser.find("#key").text)
        browser.find("#key-text").send_keys("sk-right-one", Keys.ENTER)
        browser.until(lambda: browser.all("#model option"))
        assert not browser.all("#key:not([hidden])")
        assert browser.all(".common li")[0].text == "hi\n4"
        assert "hello" in browser.ask("hi").text
        browser.click(".source")
        assert browser.find("#said [aria-current=true]").is_displayed()
        kept = browser.driver.execute_script("return [Object.values(sessionStorage), Object.values(localStorage)]")
        browser.click("#close-conversation")
        browser.click("#copy-chat")
        copied = browser.text_of("#snippet code")
        assert "sk-right-one" not in copied
        variables = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "sk-right-one"}
        ran = subprocess.run(("bash", "-c", copied), env=variables, capture_output=True, check=True)
        assert json.loads(ran.stdout)["choices"][0]["message"]["content"] == browser.text_of(".turn.answer .text")
        assert "sk-right-one" in kept[0]
        assert "sk-right-one" not in kept[1]
        assert browser.logged() == []


def test_versions_that_are_not_seeded_cannot_be_chosen(browser: Browser, tmp_path: Path) -> None:
    """The seeded version answers, whatever the default is."""
    url = f"sqlite:///{tmp_path}/corpus.db"
    seed(url, SMALL, tmp_path, ["v2"])
    with Server(tmp_path, MIMIC_STORE=url) as server:
        browser.open(server.url)
        browser.until(lambda: browser.all("#model option"))
        options = {option.get_property("value"): option.is_enabled() for option in browser.all("#model option")}
        assert options == {"mimic-v1": False, "mimic-v2": True, "mimic-v3": False}
        assert browser.find("#model").get_property("value") == "mimic-v2"
        assert "hello" in browser.ask("hi").text


def test_an_unreachable_store_is_an_error(browser: Browser, tmp_path: Path) -> None:
    """The page shows the server's message until the store is back."""
    with Server(tmp_path, MIMIC_STORE=f"mongodb://127.0.0.1:{free_port()}/mimic") as server:
        browser.open(server.url)
        assert "The store of the corpus cannot be used at the moment" in browser.find("#notices").text
        assert "store_unavailable" in browser.find("#notices").text
