"""The page in a real browser, before a predictor whose answers follow from the text alone."""

from __future__ import annotations

import io
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import uvicorn

from longform.decision.rule import DecisionRule
from longform.inference.scorer import EncodedSegments
from longform.serving.limits import EngineLimits
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app
from longform.serving.security import new_key
from longform.serving.server import bind
from longform.serving.settings import ServerSettings
from longform.types import (
    Coverage,
    Document,
    Evidence,
    Explanation,
    LabelScore,
    Prediction,
    Segment,
    SegmentedDocument,
)

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


SECOND = "原告主张被告𠮷违反了合同第三条的约定。" * 40
THRESHOLDS = {LABELS[0]: 0.8, LABELS[1]: 0.35, LABELS[2]: 0.3, LABELS[8]: 0.002}
KEY = new_key("colleagues")
CRASH, SLOW = 1, 2
CODES = {"crash": CRASH, "slow": SLOW}
EFFECTS = [0.002, 0.21, -0.004, 0.03, -0.12, 0.001, 0.0]


class SlicingPredictor:
    """Cuts the texts into equal stretches and scores them by their place.

    Of several labels, a text that starts with `nothing` gets none.
    """

    backend_info = SimpleNamespace(name="stub", device="cpu", precision="fp32")
    cache_statistics = None
    cascade_statistics = None
    devices = 1
    is_available = True
    device_states = ()

    def __init__(self, kind="single"):
        self.kind = kind
        knobs = SimpleNamespace(segments=SimpleNamespace(segment_length=8))
        description = SimpleNamespace(text_pair=kind == "pair", knobs=knobs, training={})
        self.bundle = SimpleNamespace(digest="0123456789abcdef" * 4, description=description)
        self.rule = DecisionRule(LABELS)
        if kind == "multi":
            self.rule = DecisionRule(LABELS, "multi_label_classification", thresholds=THRESHOLDS)

    def warm_up(self):
        return None

    def check_golden(self):
        return None

    def close(self):
        return None

    def segment(self, documents):
        return [_cut(document) for document in documents]

    def encode_segments(self, segments):
        if any(segment.token_ids[0] == CRASH for segment in segments):
            raise RuntimeError("boom")
        if any(segment.token_ids[0] == SLOW for segment in segments):
            time.sleep(0.2)
        count = len(segments)
        return EncodedSegments(np.zeros((count, 1), dtype=np.float32), count, count)

    def pending_audits(self):
        return []

    def conclude(self, documents, readings, *, evidence=False, raw_scores=False):
        return [
            replace(self._answer(document), coverage=reading.document.coverage)
            for document, reading in zip(documents, readings, strict=True)
        ]

    def _answer(self, document: Document):
        is_cut = document.text.startswith("truncated")
        stretches = [*_slices(document.text, 0, is_cut)]
        total, read = len(document.text), stretches[-1].end
        if document.text_pair is not None:
            stretches += _slices(document.text_pair, 1, False)
            total, read = total + len(document.text_pair), read + len(document.text_pair)
        count = len(stretches)
        scores, labels = self._scores(document), None
        if self.rule.is_multi_label:
            labels = tuple(one for one in scores if one.score >= self.rule.threshold(one.label))
        return Prediction(
            id=document.id,
            label=scores[0].label,
            score=scores[0].score,
            scores=scores,
            coverage=Coverage(
                total, read, count * 4 if is_cut else count, count, is_cut,
                "max_segments" if is_cut else None,
            ),
            evidence=tuple(stretches),
            labels=labels,
            explanation=Explanation("leave_one_out", LABELS[0], 3.2)
            if self.rule.is_multi_label
            else Explanation("exact", LABELS[0], 3.2, -0.4),
        )  # fmt: skip

    def _scores(self, document):
        values = [0.9, *[0.1 / 8] * 8]
        if self.kind == "second":
            names = (LABELS[1], LABELS[0], *LABELS[2:])
            return tuple(LabelScore(*entry) for entry in zip(names, values, strict=True))
        if self.rule.is_multi_label:
            values = [0.95, 0.41, 0.29, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02]
            if document.text.startswith("nothing"):
                values = [0.001] * 9
        return tuple(LabelScore(*entry) for entry in zip(LABELS, values, strict=True))


def _cut(document):
    """Cut a document as its answer tells; the first number of each segment steers the encoder."""
    is_cut = document.text.startswith("truncated")
    stretches = [*_slices(document.text, 0, is_cut)]
    if document.text_pair is not None:
        stretches += _slices(document.text_pair, 1, False)
    code = next((code for word, code in CODES.items() if document.text.startswith(word)), 0)
    segments = tuple(
        Segment(one.start, one.end, np.full(8, code, dtype=np.int32), one.end - one.start)
        for one in stretches
    )
    read = sum(one.new_tokens for one in segments)
    total = len(document.text) + len(document.text_pair or "")
    count = len(segments)
    coverage = Coverage(
        total, read, count * 4 if is_cut else count, count, is_cut,
        "max_segments" if is_cut else None,
    )  # fmt: skip
    return SegmentedDocument(segments, np.zeros((count, 4), dtype=np.float32), coverage)


def _slices(text, part, is_cut):
    read = len(text) // 4 if is_cut else len(text)
    count = min(20 if part == 0 else 5, read)
    bounds = [read * index // count for index in range(count + 1)]
    # Of a certain answer, no passage changes the probability.
    weight = 0.0 if text.startswith("certain") else 1.0
    return [
        Evidence(
            index, bounds[index], bounds[index + 1], weight * effect, LABELS[0], part,
            contribution=2 * effect, log_odds=10 * effect,
        )
        for index, effect in ((index, EFFECTS[index % 7]) for index in range(count))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Where a model of one label, of several, and of pairs is served."""
    found, stops = {}, []
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(KEY[1])
    for kind in ("single", "multi", "pair", "two", "key"):
        settings = ServerSettings(port=0)
        if kind == "key":
            settings = ServerSettings(port=0, api_keys=str(folder / "keys"))
        listener = bind(settings)
        registry = ModelRegistry(
            lambda folder, kind=kind: SlicingPredictor(folder.name if kind == "two" else kind),
            limits=EngineLimits(max_batch_tokens=16),
        )
        service = registry.add("contracts", Path("single"))
        if kind == "two":
            registry.add("other", Path("second"))
        server = uvicorn.Server(
            uvicorn.Config(create_app(registry, settings), log_config=None, access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        service.wait_until_opened(10)
        found[kind] = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        stops.append((server, thread, listener))
    yield found
    for server, thread, listener in stops:
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
def open_page(browser, addresses):
    """Open the page in a language; every script error and outside request fails the test."""
    contexts, faults = [], []

    def start(locale="en-US", kind="single", **options):
        address = addresses[kind]
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
        page.wait_for_selector("#server[data-state=ready]")
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


def classify(page, text, text_pair=None):
    page.fill("#document", text)
    if text_pair is not None:
        page.fill("#document-pair", text_pair)
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
    assert deltas == ["log-odds +2.100"] * 3 + ["log-odds −1.200"] * 2
    points = page.locator("#passages .points").all_inner_texts()
    assert points == ["+21.0 points"] * 3 + ["−12.0 points"] * 2
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
    tip = page.inner_text("#tip")
    assert tip.startswith("log-odds +2.100\n+21.0 points\n")
    assert "without it 69.0%" in tip
    assert "Contribution to the logit: +0.420" in tip


def test_passages_of_a_certain_answer_are_told_apart_and_the_method_is_named(open_page):
    page = open_page()
    classify(page, "certain " + DOCUMENT)
    marks = page.locator("#text mark")
    strengths = [
        marks.nth(index).evaluate("node => node.style.getPropertyValue('--strength')")
        for index in (1, 3, 4)
    ]
    assert strengths == ["1.000", "0.143", "0.571"]
    assert "opposes" in marks.nth(4).get_attribute("class")
    assert "No single passage decides" in page.inner_text("#passages-note")
    assert page.locator("#passages .delta").first.inner_text() == "log-odds +2.100"
    said = page.inner_text("#passages-method")
    assert said.startswith("Method: exact.")
    assert "−0.400, which is of no passage, sum to the logit +3.200" in said
    page = open_page("zh-CN", kind="multi")
    classify(page, DOCUMENT)
    assert page.inner_text("#passages-method").startswith("方法：逐段去除。")


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


def test_a_file_that_cannot_be_read_is_refused_with_the_way_out(open_page):
    page = open_page()
    page.set_input_files(
        "#file",
        {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF\0\xff\xff\x80"},
    )
    page.wait_for_selector("#fault:not([hidden])")
    assert "scan.pdf" in page.inner_text("#fault")
    assert "plain text, a Word document (.docx) or a PDF" in page.inner_text("#fault")


def test_a_word_document_is_read_by_the_server(open_page):
    docx = pytest.importorskip("docx")
    document, content = docx.Document(), io.BytesIO()
    document.add_paragraph("第一条 双方同意。")
    document.save(content)
    page = open_page()
    file = {"name": "a.docx", "mimeType": "", "buffer": content.getvalue()}
    page.set_input_files("#file", file)
    page.wait_for_function("() => document.getElementById('document').value")
    assert page.input_value("#document") == "第一条 双方同意。"
    assert "a.docx · DOCX" in page.inner_text("#facts")


def test_several_files_are_listed_with_their_answers_and_can_be_opened(open_page):
    page = open_page()
    files = [
        {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": text.encode()}
        for name, text in (("one", DOCUMENT), ("two", "truncated " + DOCUMENT), ("bad", "\x00\x01"))
    ]
    page.set_input_files("#file", files)
    page.wait_for_function(
        "() => [...document.querySelectorAll('#batch li')].every(li => li.className === 'failed'"
        " || !li.firstElementChild.disabled)"
    )
    rows = page.locator("#batch li")
    assert rows.count() == 3
    assert LABELS[0] in rows.nth(0).inner_text()
    assert "Not read as a whole: 25.0%" in rows.nth(1).inner_text()
    assert "could not be read" in rows.nth(2).inner_text()
    rows.nth(0).locator("button").click()
    assert page.inner_text("#label") == LABELS[0]
    assert page.text_content("#text") == DOCUMENT
    assert page.is_visible("#batch"), "the list stays beside the answer"
    page.click("#clear")
    assert page.is_hidden("#batch-part")


def test_the_answer_so_far_is_told_while_a_long_document_is_read(open_page):
    page = open_page()
    page.fill("#document", "slow " + DOCUMENT)
    page.click("#classify")
    page.wait_for_selector("#so-far:not([hidden])")
    said = page.inner_text("#so-far")
    assert re.fullmatch(rf"[\d.]+% read; so far: {LABELS[0]}, 90.0%", said)
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#coverage-title") == "✓ Read as a whole"


def test_two_models_are_compared(open_page):
    page = open_page(kind="two")
    page.wait_for_selector("#models:not([hidden])")
    page.select_option("#compare", "other")
    classify(page, DOCUMENT)
    assert "They give different labels" in page.inner_text("#comparison")
    columns = page.locator("#comparison .column").all_inner_texts()
    assert columns[0].startswith("contracts")
    assert columns[1].startswith("other")
    page.click("#edit")
    page.select_option("#model", "other")
    page.select_option("#compare", "")
    classify(page, DOCUMENT)
    assert page.inner_text("#label") == LABELS[1]
    assert page.is_hidden("#comparison")


def test_a_server_that_wants_a_key_is_given_one(open_page):
    page = open_page(kind="key")
    page.fill("#document", "some text")
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", KEY[0])
    page.click("#key-dialog .primary")
    page.wait_for_selector("#key-dialog:not([open])", state="attached")
    classify(page, "some text")
    assert page.inner_text("#label") == LABELS[0]


def test_the_theme_can_be_chosen_and_is_remembered(open_page):
    page = open_page()
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_operations_are_shown_from_the_metrics(open_page, language):
    page = open_page(language)
    classify(page, DOCUMENT)
    page.click("nav a[href=operations]")
    page.wait_for_selector(".tile .figure")
    assert page.locator(".tile").count() == 8
    row = page.locator("#models tbody tr").first.inner_text()
    assert "contracts" in row
    page.wait_for_function(
        "() => !document.querySelector('[data-figure=opsMemory] .figure').textContent"
        ".startsWith('0')"
    )
    width = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0


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
        "async () => { const { WORDS } = await import('/words.js');"
        " return [...Object.keys(WORDS.en).filter(k => !(k in WORDS.zh)),"
        " ...Object.keys(WORDS.zh).filter(k => !(k in WORDS.en)),"
        " ...[...document.querySelectorAll('[data-words]')]"
        ".flatMap(n => [n.dataset.words, n.dataset.pairWords || n.dataset.words])"
        ".filter(k => !(k in WORDS.en))]; }"
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
@pytest.mark.parametrize("kind", ["single", "multi", "pair"])
def test_nothing_overflows_sideways(open_page, width, kind):
    page = open_page(kind=kind, viewport={"width": width, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    classify(page, DOCUMENT, SECOND if kind == "pair" else None)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    # A long text scrolls in its box, and does not make the page as long as itself.
    box = page.locator("#text").bounding_box()
    assert 200 <= box["height"] <= 800
    assert page.locator("#text").evaluate("node => node.scrollHeight > node.clientHeight")


def test_two_texts_are_judged_together_and_shaded_each_in_its_own_box(open_page):
    page = open_page(kind="pair")
    assert page.inner_text("#document-title") == "Two texts"
    assert page.is_hidden("#file")
    classify(page, DOCUMENT, SECOND)
    for box, text, count in (("#text", DOCUMENT, 20), ("#text-pair", SECOND, 5)):
        shown = page.eval_on_selector_all(f"{box} mark", "all => all.map(n => n.textContent)")
        # Code points of its own text, not of both together.
        assert shown == [
            text[len(text) * index // count : len(text) * (index + 1) // count]
            for index in range(count)
        ]
        assert page.text_content(box) == text
    assert page.locator("#map .supports, #map .opposes").count() == 20
    assert page.locator("#map-pair .supports, #map-pair .opposes").count() == 5
    total = f"{len(DOCUMENT) + len(SECOND):,}"
    assert page.inner_text("#coverage-words") == f"{total} of {total} tokens, 25 of 25 segments"
    places = page.locator("#passages .head > span:first-child").all_inner_texts()
    assert places[3] == "Second text, passage 2 of 5"
    page.locator("#passages button").nth(3).click()
    assert page.locator("#text-pair mark").nth(1).evaluate("n => document.activeElement === n")


def test_the_texts_of_a_pair_stand_side_by_side_and_on_a_phone_one_below_the_other(open_page):
    for width, beside in ((1440, True), (360, False)):
        page = open_page(kind="pair", viewport={"width": width, "height": 800})
        for first, second in (("#document", "#document-pair"), ("#text", "#text-pair")):
            one, other = page.locator(first).bounding_box(), page.locator(second).bounding_box()
            assert (other["x"] >= one["x"] + one["width"]) == beside
            assert (other["y"] >= one["y"] + one["height"]) != beside
            assert min(one["width"], other["width"]) >= 300
            assert min(one["height"], other["height"]) >= 200
            if first == "#document":
                classify(page, DOCUMENT, SECOND)


def test_a_pair_is_asked_for_as_a_whole(open_page):
    page = open_page(kind="pair")
    page.fill("#document", "only one")
    page.click("#classify")
    assert "Both texts are needed" in page.inner_text("#fault")
    assert page.evaluate("() => document.activeElement.id") == "document-pair"
    page.set_input_files(
        "#file-second",
        {"name": "claim.txt", "mimeType": "text/plain", "buffer": "第二篇。".encode()},
    )
    page.wait_for_function("() => document.getElementById('document-pair').value")
    assert page.input_value("#document-pair") == "第二篇。"
    assert page.input_value("#document") == "only one"
    assert "claim.txt" in page.inner_text("#facts-second")


def test_a_file_falls_into_the_box_it_is_dropped_on(open_page):
    page = open_page(kind="pair")
    drop = (
        "(node, text) => { const data = new DataTransfer();"
        " data.items.add(new File([text], 'a.txt'));"
        " for (const type of ['dragenter', 'dragover', 'drop']) node.dispatchEvent("
        "new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data })); }"
    )
    page.locator("#document-pair").evaluate(drop, "to the second")
    page.wait_for_function("() => document.getElementById('document-pair').value")
    page.locator("header").evaluate(drop, "to the one that is missing")
    page.wait_for_function("() => document.getElementById('document').value")
    assert page.input_value("#document-pair") == "to the second"
    assert page.input_value("#document") == "to the one that is missing"
    assert page.locator(".target").count() == 0


def test_r87_every_label_that_reaches_its_threshold_is_shown(open_page):
    page = open_page(kind="multi")
    classify(page, DOCUMENT)
    chips = page.locator("#given .chip").all_inner_texts()
    assert [chip.split() for chip in chips] == [
        [LABELS[0], "95.0%"], [LABELS[1], "41.0%"], [LABELS[8], "2.0%"]
    ]  # fmt: skip
    assert page.inner_text("#label-title") == "3 labels reach their threshold"
    assert page.is_hidden("#label")
    # The last of nine is given: all stand there, each with its threshold.
    rows = page.locator("#scores li")
    assert rows.count() == 9
    given = page.locator("#scores li.given .name").all_inner_texts()
    assert given == [LABELS[0], LABELS[1], LABELS[8]]
    assert rows.nth(2).get_attribute("title") == "threshold 30.0%"
    track = rows.nth(2).locator(".track").bounding_box()
    fill = rows.nth(2).locator(".fill").bounding_box()
    assert fill["height"] == track["height"]
    assert fill["width"] / track["width"] == pytest.approx(0.29, abs=0.01)
    stroke = rows.nth(2).locator(".threshold").bounding_box()
    assert (stroke["x"] + stroke["width"] / 2 - track["x"]) / track["width"] == pytest.approx(
        0.3, abs=0.01
    )
    assert page.inner_text("#legend-supports") == f"supports “{LABELS[0]}”"
    assert f"“{LABELS[0]}”, the likeliest label" in page.inner_text("#passages-note")


def test_no_label_is_said_in_words(open_page):
    page = open_page("zh-CN", kind="multi")
    classify(page, "nothing fits")
    assert page.inner_text("#none-given") == "没有类别达到阈值"
    assert page.is_hidden("#given")
    page.click("#language")
    assert page.inner_text("#none-given") == "No label reaches its threshold"
    assert "没有类别达到阈值" in page.text_content("#announce")
    assert page.locator("#scores li.given").count() == 0
    page.click("#edit")
    classify(page, DOCUMENT)
    assert page.is_hidden("#none-given")
    assert page.locator("#given .chip").count() == 3


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
