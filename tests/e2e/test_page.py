"""The page in a real browser, before a predictor whose answers follow from the text alone."""

from __future__ import annotations

import re
import shutil
import threading
from types import SimpleNamespace

import pytest
import uvicorn

from longform.serving.rest import create_app
from longform.serving.server import bind
from longform.serving.service import PredictionService
from longform.serving.settings import ServerSettings
from longform.types import Coverage, Evidence, LabelScore, Prediction

pytestmark = pytest.mark.browser

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LABELS = tuple(f"类别{number}" for number in range(9))
DOCUMENT = "\n".join(
    f"第{number}条　双方同意按照本合同约定履行各自的义务𠮷，<b>不得</b>擅自变更😀。" * 4
    for number in range(1, 61)
)


class SlicingPredictor:
    """Cuts the text into equal stretches and scores them by their place."""

    labels = LABELS
    bundle = SimpleNamespace(digest="0123456789abcdef" * 4)
    backend_info = SimpleNamespace(name="stub", device="cpu", precision="fp32")

    def warm_up(self):
        return None

    def check_golden(self):
        return None

    def close(self):
        return None

    def predict(self, texts, *, evidence=False):
        return [self._answer(text) for text in texts]

    def _answer(self, text):
        if text.startswith("crash"):
            raise RuntimeError("boom")
        is_cut = text.startswith("truncated")
        read = len(text) // 4 if is_cut else len(text)
        count = min(20, read)
        bounds = [read * index // count for index in range(count + 1)]
        effects = [0.002, 0.21, -0.004, 0.03, -0.12, 0.001, 0.0]
        return Prediction(
            id="0",
            label=LABELS[0],
            score=0.9,
            scores=tuple(
                LabelScore(label, 0.9 if index == 0 else 0.1 / 8)
                for index, label in enumerate(LABELS)
            ),
            coverage=Coverage(
                len(text), read, count * 4 if is_cut else count, count, is_cut,
                "max_segments" if is_cut else None,
            ),
            evidence=tuple(
                Evidence(
                    index, bounds[index], bounds[index + 1], effects[index % 7], LABELS[0]
                )
                for index in range(count)
            ),
        )  # fmt: skip


@pytest.fixture(scope="module")
def address():
    settings = ServerSettings(port=0)
    listener = bind(settings)
    service = PredictionService(SlicingPredictor, name="contracts")
    server = uvicorn.Server(
        uvicorn.Config(create_app(service, settings), log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    service.wait_until_opened(10)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Open the page in a language; every script error and outside request fails the test."""
    contexts, faults = [], []

    def start(locale="en-US", **options):
        context = browser.new_context(locale=locale, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:")) or faults.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


def classify(page, text):
    page.fill("#document", text)
    page.press("#document", "Control+Enter")
    page.wait_for_selector("#result:not([hidden])")


def test_a_long_document_is_answered_with_coverage_and_exact_passages(open_page):
    page = open_page()
    assert page.is_visible("#empty")
    classify(page, DOCUMENT)
    assert page.inner_text("#label") == LABELS[0]
    assert page.inner_text("#score") == "90.0%"
    size = f"{len(DOCUMENT):,}"
    assert page.inner_text("#coverage-words") == f"{size} of {size} tokens, 20 of 20 segments"
    assert page.is_hidden("#coverage-warning")
    # Code points, not UTF-16 units: the document holds characters outside the first plane.
    expected = [
        DOCUMENT[len(DOCUMENT) * index // 20 : len(DOCUMENT) * (index + 1) // 20]
        for index in range(20)
    ]
    shown = page.eval_on_selector_all("#text mark", "nodes => nodes.map(n => n.textContent)")
    assert shown == expected
    assert page.text_content("#text") == DOCUMENT
    assert page.query_selector("#text b") is None
    assert "contracts" in page.inner_text("#foot")
    assert "stub · cpu · fp32" in page.inner_text("#foot")


def test_all_labels_can_be_shown(open_page):
    page = open_page()
    classify(page, "short text")
    assert page.locator("#scores li").count() == 6
    page.click("#more")
    assert page.locator("#scores li").count() == 9


def test_supporting_and_opposing_passages_differ_and_can_be_reached(open_page):
    page = open_page(reduced_motion="reduce")
    classify(page, DOCUMENT)
    marks = page.locator("#text mark")
    assert "supports" in marks.nth(1).get_attribute("class")
    assert "opposes" in marks.nth(4).get_attribute("class")
    colours = [
        marks.nth(index).evaluate("node => getComputedStyle(node).backgroundColor")
        for index in (0, 1, 4)
    ]
    assert len(set(colours)) == 3
    deltas = page.locator("#passages .delta").all_inner_texts()
    assert deltas == ["+21.0 points"] * 3 + ["−12.0 points"] * 2
    page.locator("#passages button").nth(2).click()
    page.wait_for_function(
        "() => { const box = document.getElementById('text').getBoundingClientRect();"
        " const top = document.activeElement.getClientRects()[0].top;"
        " return top >= box.top && top < box.bottom; }"
    )
    assert marks.nth(15).evaluate("node => document.activeElement === node")
    line = marks.nth(15).evaluate(
        "node => { const line = node.getClientRects()[1]; return [line.x + 9, line.y + 9]; }"
    )
    page.mouse.move(*line)
    assert page.is_visible("#tip")
    assert "without it 69.0%" in page.inner_text("#tip")


def test_a_truncated_reading_is_loud(open_page):
    page = open_page()
    classify(page, "truncated " + DOCUMENT)
    assert page.is_visible("#coverage-warning")
    assert "75.0% of the document was left out (max_segments)" in page.inner_text("#coverage")
    assert page.locator("#text .unread-text").count() == 1
    assert page.is_visible("#legend-unread")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_files_are_decoded_in_the_browser(open_page, encoding):
    page = open_page()
    text = "本院认为，被告应当承担责任𠮷。" * 5
    page.set_input_files(
        "#file",
        {"name": "judgment.txt", "mimeType": "text/plain", "buffer": text.encode(encoding)},
    )
    page.wait_for_function("() => document.getElementById('document').value")
    assert page.input_value("#document") == text
    assert "judgment.txt" in page.inner_text("#facts")


def test_a_file_that_is_no_text_is_refused_with_the_way_out(open_page):
    page = open_page()
    page.set_input_files(
        "#file",
        {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF\0\xff\xff\x80"},
    )
    page.wait_for_selector("#fault:not([hidden])")
    assert "Save the document as .txt" in page.inner_text("#fault")


def test_the_language_follows_the_browser_and_can_be_switched(open_page):
    page = open_page("zh-CN")
    assert page.inner_text("#classify") == "分类"
    classify(page, DOCUMENT)
    assert "已通读全文" in page.inner_text("#coverage")
    page.click("#language")
    assert page.inner_text("#coverage-title") == "✓ Read as a whole"
    page.reload()
    assert page.inner_text("#classify") == "Classify"


def test_both_languages_have_the_same_words(open_page):
    page = open_page()
    missing = page.evaluate(
        "() => [...Object.keys(WORDS.en).filter(k => !(k in WORDS.zh)),"
        " ...Object.keys(WORDS.zh).filter(k => !(k in WORDS.en)),"
        " ...[...document.querySelectorAll('[data-words]')].map(n => n.dataset.words)"
        ".filter(k => !(k in WORDS.en))]"
    )
    assert missing == []


def test_faults_are_said_in_words(open_page):
    page = open_page()
    page.click("#classify")
    assert "There is no text to classify" in page.inner_text("#fault")
    page.fill("#document", "crash now")
    page.click("#classify")
    page.wait_for_function(
        "() => document.getElementById('fault-title').textContent.includes('could not answer')"
    )
    assert "RuntimeError" in page.inner_text("#fault")
    classify(page, "and then it works again")


def test_an_answer_does_not_stay_beside_another_text(open_page):
    page = open_page()
    classify(page, "first text")
    page.click("#edit")
    page.fill("#document", "second text")
    assert page.is_hidden("#result")
    assert page.is_visible("#empty")


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_nothing_overflows_sideways(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    classify(page, DOCUMENT)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_even_under_the_strongest_shade(open_page, scheme):
    page = open_page(color_scheme=scheme)
    classify(page, DOCUMENT)
    for index in (1, 4):
        shade, ink, ground = (
            page.locator("#text mark")
            .nth(index)
            .evaluate(
                "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color,"
                " getComputedStyle(node.closest('.card')).backgroundColor]"
            )
        )
        assert _contrast(_numbers(ink), _over(_numbers(shade), _numbers(ground))) >= 4.5


def _numbers(colour):
    return [float(number) for number in re.findall(r"[\d.]+", colour)]


def _over(shade, ground):
    alpha = shade[3] if len(shade) > 3 else 1.0
    return [alpha * top + (1 - alpha) * below for top, below in zip(shade, ground, strict=False)]


def _contrast(one, other):
    """WCAG 2 contrast ratio of two sRGB colours."""
    lights = []
    for colour in (one, other):
        linear = [
            value / 255 / 12.92
            if value / 255 <= 0.04045
            else ((value / 255 + 0.055) / 1.055) ** 2.4
            for value in colour[:3]
        ]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)
