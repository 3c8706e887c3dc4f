"""The page to steer by hand, in a real browser: its forward pass against PyTorch's, what it asks for, what it hides, keys, a phone.

Left out, with a reason, where there is no Playwright or no Chromium; .ci/run has both.
"""

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from study.steer_page import choice
from tests import made_page
from tests.made_page import Page

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium here: apt-get install chromium", allow_module_level=True)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_S = 30
SECRETS = ("learned", "scrambled", "rotated", "untrained")
Shown = Any  # a page of Playwright's


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return made_page.made(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser of a fresh profile that is told there is no network."""
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=CHROMIUM, args=[*QUIET], offline=True
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def address(page: Page, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("disk") / choice.FILE
    path.write_text(page.html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(browser: Any, address: str) -> Iterator[Shown]:
    """The page, opened from disk, once its texts are written; nothing may go wrong in it."""
    tab, wrong = browser.new_page(), list[str]()
    tab.set_viewport_size({"width": 1200, "height": 900})
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    tab.goto(address)
    settled(tab)
    yield tab
    tab.close()
    assert wrong == []


def until(tab: Shown, condition: str) -> None:
    """Wait for a condition in the page; its own policy forbids Playwright's way to."""
    end = time.monotonic() + PATIENCE_S
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def settled(tab: Shown, section: str = "#duel") -> None:
    """Wait until nothing is being written or measured in a section."""
    until(tab, f"document.querySelectorAll('{section} .entropy').length == 2")
    until(
        tab,
        f"![...document.querySelectorAll('{section} .panel')].some((one) => one.hasAttribute('aria-busy'))",
    )


def texts(tab: Shown, section: str = "#duel") -> list[str]:
    return [one.text_content() for one in tab.locator(f"{section} .text").all()]


def numbers(tab: Shown, section: str = "#duel") -> list[str]:
    return [one.text_content() for one in tab.locator(f"{section} .entropy, {section} .loss").all()]


@pytest.fixture(scope="module")
def network(browser: Any, page: Page) -> Iterator[Shown]:
    """A blank page with network.js in it, and the model of the page loaded."""
    tab = browser.new_page()
    tab.add_script_tag(content=(choice.HOME / "network.js").read_text(encoding="utf-8"))
    tab.evaluate(
        "([facts, weights]) => { globalThis.model = Network.load(facts, weights); }",
        [page.facts, page.part("weights")],
    )
    yield tab
    tab.close()


def bias_of(page: Page, reader: int, state: list[float]) -> torch.Tensor:
    matrix = page.arrays()[f"reader.{reader}"].reshape(-1, len(state))
    return torch.from_numpy(matrix @ np.array(state, np.float32))


@pytest.mark.parametrize("reader", [0, 2])
def test_logits_are_those_of_pytorch(network: Shown, page: Page, reader: int) -> None:
    facts, gpt = page.facts, page.gpt()
    assert np.abs(page.arrays()["blocks.0.up.bias"]).max() > 0  # biases of linear layers count, too
    for scale in (0.0, 1.0, 30.0):
        state = [scale * number for number in facts["presets"]["own"]]
        for tokens, _ in facts["texts"][:2]:
            given = [f"reader.{reader}", state, tokens]
            at_once = network.evaluate(
                """([reader, state, tokens]) => new Network.Reading(model, Network.biasOf(model, reader, state))
                .read(tokens).map((row) => [...row])""",
                given,
            )
            one_by_one = network.evaluate(
                """([reader, state, tokens]) => { const reading = new Network.Reading(model, Network.biasOf(model, reader, state));
                return tokens.map((token) => [...reading.read([token])[0]]); }""",
                given,
            )
            with torch.inference_mode():
                expected = gpt(torch.tensor([tokens]), bias_of(page, reader, state))[0][0].numpy()
            assert np.abs(expected).max() > 0.1
            np.testing.assert_allclose(at_once, expected, atol=1e-3, rtol=0)
            np.testing.assert_allclose(one_by_one, expected, atol=1e-3, rtol=0)


def test_a_text_is_drawn_from_the_models_odds(network: Shown, page: Page) -> None:
    facts, gpt, block = page.facts, page.gpt(), page.subject.run.model.block_size
    state, prompt, length = facts["presets"]["own"], facts["prompts"][0], 3 * block
    written, drawn = network.evaluate(
        """([state, prompt, length]) => [[...Network.written(model, Network.biasOf(model, "reader.0", state), prompt, length, 7, 3)],
        Array.from({ length }, (_, at) => Network.uniform(7, at))]""",
        [state, prompt, length],
    )
    told, window = list(prompt), list(prompt)
    for sign, number in zip(written, drawn, strict=True):
        with torch.inference_mode():
            logits = gpt(torch.tensor([window]), bias_of(page, 0, state))[0][0, -1].double()
        p, warm = F.softmax(logits, -1), F.softmax(logits / 0.8, -1)
        assert sign["entropy"] == pytest.approx(-(p * p.log()).sum().item(), abs=1e-3)
        best, order = p.topk(3)
        assert [odds for _, odds in sign["likely"]] == pytest.approx(best.tolist(), abs=1e-3)
        assert sign["likely"][0][0] == order[0]
        below = warm[: sign["token"]].sum().item()  # the number lies on the stretch of the token that it drew
        assert below - 1e-3 <= number <= below + warm[sign["token"]].item() + 1e-3
        told.append(sign["token"])
        window = told[-block // 2 :] if len(window) == block else [*window, sign["token"]]


def test_random_numbers_are_spread(network: Shown) -> None:
    drawn = np.array(
        network.evaluate("Array.from({ length: 4000 }, (_, at) => Network.uniform(1 + (at % 4), at >> 2))")
    )
    assert drawn.min() >= 0 and drawn.max() < 1 and len({*drawn}) > 3990
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 400).max() < 100
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.06


def test_entropy_and_loss_are_those_of_pytorch(shown: Shown, page: Page) -> None:
    x, y = (torch.tensor(rows) for rows in zip(*page.facts["texts"], strict=True))
    with torch.inference_mode():
        logits = page.gpt()(x)[0]
    log_p = F.log_softmax(logits, -1)
    entropy, loss = -(log_p.exp() * log_p).sum(-1).mean(), F.nll_loss(log_p.flatten(0, 1), y.flatten())
    told = [float(number) for number in numbers(shown)]
    np.testing.assert_allclose(told, [entropy, loss] * 2, atol=2e-3)  # both dials stand at zero


def test_nothing_is_asked_of_a_network(browser: Any, address: str) -> None:
    tab, asked = browser.new_page(), list[str]()
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    settled(tab)
    assert asked[0] == address and all(url.startswith(("blob:null/", "data:,")) for url in asked[1:])
    refused = tab.evaluate("fetch('https://example.org').then(() => 'fetched', () => 'refused')")
    assert refused == "refused"  # by the page's own policy
    tab.close()


def test_the_first_text_comes_within_a_second(browser: Any, address: str) -> None:
    took = []
    for _ in range(5):
        tab = browser.new_page()
        tab.goto(address)
        until(tab, "performance.getEntriesByName('first-text').length > 0")
        took.append(tab.evaluate("performance.getEntriesByName('first-text')[0].startTime"))
        tab.close()
        if took[-1] < 1000:
            return
    pytest.fail(f"the first text took {took} ms")


def test_equal_dials_write_the_same_until_they_are_turned(shown: Shown) -> None:
    first, second = texts(shown)
    assert first == second and len(first) > 100
    dial = shown.locator("#duel input[type=range]").first
    dial.focus()
    for _ in range(20):
        shown.keyboard.press("ArrowRight")
    settled(shown)
    positions = [one.input_value() for one in shown.locator("#duel input[type=range]").all()]
    assert positions == ["20", "20"]  # turned together
    quickly = texts(shown)
    for key in ("ArrowLeft", "ArrowRight"):
        shown.keyboard.press(key)
        settled(shown)
    assert texts(shown) == quickly  # nothing is left of the places that were passed in haste
    shown.locator("#together").uncheck()
    shown.keyboard.press("Tab")
    dial.focus()
    shown.keyboard.press("End")
    settled(shown)
    positions = [one.input_value() for one in shown.locator("#duel input[type=range]").all()]
    assert positions == ["40", "20"]
    a, b = texts(shown)
    entropy = numbers(shown)[::2]
    assert a != b and entropy[0] != entropy[1]
    before = texts(shown)
    shown.locator("#duel .again").click()
    settled(shown)
    assert [text for text in texts(shown) if text in before] == []


def bare(html: str) -> str:
    """Markup without its texts and without what differs by what was written."""
    html = re.sub(r'style="[^"]*"|aria-valuetext="[^"]*"|data-prompt="[^"]*"|aria-label="[^"]*"', "", html)
    html = re.sub(r' class="(drawn|sign chosen|sign|)"', "", html)
    html = re.sub(r"(<span ?>[^<]*</span>)+", "", html)
    return re.sub(r">[^<]*<", "><", html)


def test_which_is_which_is_hidden_until_it_is_revealed(shown: Shown) -> None:
    zero = numbers(shown)
    shown.locator("#duel input[type=range]").first.focus()
    for _ in range(10):
        shown.keyboard.press("ArrowRight")
    shown.evaluate("document.activeElement.blur()")
    settled(shown)
    turned = numbers(shown)
    assert turned[:2] != zero[:2] and turned[2:] != zero[2:]
    panels = [one.evaluate("(each) => each.outerHTML") for one in shown.locator("#duel .panel").all()]
    hidden = [re.sub("learned or not", "", html) for html in panels]
    assert not any(secret in html for html in hidden for secret in SECRETS)
    assert bare(panels[0]) == bare(panels[1])
    assert shown.evaluate("typeof readers + typeof scores + typeof sides") == "undefined" * 3
    shown.locator("#reveal").click()
    assert sorted(one.text_content() for one in shown.locator("#duel h3").all()[:2]) == [
        "learned",
        "scrambled",
    ]


def test_either_side_can_be_the_learned_one(shown: Shown) -> None:
    found = set()
    for _ in range(20):  # both come up but twice in a million times
        shown.locator("#reveal").click()
        found.add(shown.locator("#verdict").text_content()[0])
        shown.locator("#reveal").click()
    assert found == {"A", "B"}
    assert shown.locator("#score").text_content() == ""  # nothing was guessed


def test_a_round_can_be_played_by_keys_alone(shown: Shown) -> None:
    shown.keyboard.press("Tab")
    focused = "document.activeElement"
    for _ in range(8):
        if shown.evaluate(f"{focused}.type") == "range":
            break
        shown.keyboard.press("Tab")
    assert shown.evaluate(f"{focused}.type") == "range"
    assert shown.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"  # where one is, is seen
    shown.keyboard.press("ArrowLeft")
    assert "less sure" in shown.evaluate(f"{focused}.getAttribute('aria-valuetext')")
    settled(shown)
    shown.keyboard.press("Tab")  # on to the text, and along it
    before = shown.locator("#duel .next .named").first.text_content()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#duel .next .named").first.text_content() != before
    shown.keyboard.press("a")
    assert shown.locator("#guess-a").get_attribute("aria-pressed") == "true"
    shown.keyboard.press("Space")
    verdict, score = shown.locator("#verdict").text_content(), shown.locator("#score").text_content()
    won = int(verdict.startswith("Right."))
    assert verdict.startswith(("Right. ", "No. ")) and f"{won} of 1 right" in score
    assert f"{50 if won else 100} times in 100" in score
    shown.keyboard.press("b")  # too late
    assert shown.locator("#score").text_content() == score
    shown.keyboard.press("Space")
    assert shown.locator("#verdict").text_content() == ""
    shown.evaluate("document.activeElement.blur()")
    shown.keyboard.press("b")
    assert shown.locator("#guess-b").get_attribute("aria-pressed") == "true"
    shown.locator("#opponent input").last.check(force=True)
    assert shown.locator("#guess-b").get_attribute("aria-pressed") == "false"
    shown.locator("#reveal").click()
    assert "untrained" in shown.locator("#verdict").text_content()


def test_states_are_put_in_beside_a_control(shown: Shown, page: Page) -> None:
    shown.evaluate("document.getElementById('hand').scrollIntoView()")
    until(shown, "document.querySelectorAll('#hand .sign').length > 100")
    settled(shown, "#hand")
    own = numbers(shown, "#hand")
    assert own[0] != own[2]  # the same state through another reader
    shown.locator("#presets input[value=zero]").check(force=True)
    settled(shown, "#hand")
    zero = numbers(shown, "#hand")
    assert zero[:2] == zero[2:] == numbers(shown)[:2]
    assert shown.locator("#hand .change").all_text_contents() == ["0.000"] * 4
    shown.locator("#presets input[value=other]").check(force=True)
    settled(shown, "#hand")
    assert numbers(shown, "#hand")[:2] not in (own[:2], zero[:2])
    shown.locator("#control input[value=other]").check(force=True)
    settled(shown, "#hand")
    same = numbers(shown, "#hand")
    assert same[:2] == same[2:]  # the other run's state on either side
    shown.locator("#presets input[value=own]").check(force=True)
    settled(shown, "#hand")
    beside = numbers(shown, "#hand")
    assert beside[:2] == own[:2] and beside[2:] != own[:2]
    shown.locator("#moment").focus()
    shown.keyboard.press("Home")
    for _ in range(20):
        shown.keyboard.press("ArrowRight")
    told = shown.locator("#moment-told").text_content()
    norm = page.facts["timeline"]["norm"][20]
    assert told.startswith(f"step 20: length {norm:.2f}, ") and told.endswith("targets corrupted")
    assert shown.locator("#length output").text_content() == f"length {norm:.2f}"
    assert shown.locator("#presets input:checked").count() == 0


def test_a_phone_shows_all_of_it(browser: Any, address: str) -> None:
    tab = browser.new_page()
    tab.set_viewport_size({"width": 375, "height": 760})
    tab.goto(address)
    settled(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == 375
    boxes = [one.bounding_box() for one in tab.locator("#duel .panel").all()]
    assert boxes[0]["x"] == boxes[1]["x"] and boxes[1]["y"] > boxes[0]["y"]  # one under the other
    for control in tab.locator("button, input[type=range], .choice span, .check, select").all():
        box = control.bounding_box()
        assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 375
    dial = tab.locator("#duel input[type=range]").first
    box = dial.bounding_box()
    tab.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    assert int(dial.input_value()) > 15
    settled(tab)
    tab.locator("#guess-a").click()
    tab.locator("#reveal").click()
    assert "1 right" in tab.locator("#score").text_content()
    tab.close()
