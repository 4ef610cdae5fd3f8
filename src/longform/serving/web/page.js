// The life of the page: the editor, the server, and which of its parts are to be seen.

import { foldScores, showPrediction, summary } from "./answer.js";
import { element, isNarrow, part } from "./elements.js";
import { scrollToStart, showMapViews } from "./reader.js";
import { WORDS, count, currentLanguage, useLanguage, words } from "./words.js";

const PANES = [
  { input: part("document"), facts: [part("facts-first"), part("read-first")], file: "" },
  { input: part("document-pair"), facts: [part("facts-second"), part("read-second")], file: "" },
];
const state = {
  texts: 1, // That the model judges together.
  thresholds: new Map(),
  reply: null,
  readTexts: [],
  fault: null,
  health: null,
  request: null,
  began: 0,
  seconds: 0,
};

const panes = () => PANES.slice(0, state.texts);
const codePoints = (text) => {
  let total = 0;
  for (const _ of text) total += 1;
  return total;
};

// ---------------------------------------------------------------- language

function chooseLanguage() {
  const stored = new URLSearchParams(location.search).get("lang") || remembered("language");
  if (stored in WORDS) return stored;
  const first = (navigator.languages && navigator.languages[0]) || navigator.language || "en";
  return first.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function remembered(key, value) {
  // Storage is forbidden in some company browsers; the choice then lasts as long as the page.
  try {
    if (value !== undefined) localStorage.setItem(`longform.${key}`, value);
    return localStorage.getItem(`longform.${key}`);
  } catch (error) {
    return null;
  }
}

/** Say everything anew, in this language and for as many texts as the model judges. */
function showWords() {
  const isChinese = currentLanguage() === "zh";
  document.documentElement.lang = isChinese ? "zh-CN" : "en";
  document.title = words().title;
  for (const node of document.querySelectorAll("[data-words]")) {
    const { words: one, pairWords } = node.dataset;
    node.textContent = words()[(state.texts > 1 && pairWords) || one];
  }
  part("document").placeholder = state.texts > 1 ? words().placeholderFirst : words().placeholder;
  part("document-pair").placeholder = words().placeholderSecond;
  part("language").textContent = isChinese ? "English" : "中文";
  part("language").lang = isChinese ? "en" : "zh-CN";
  showFacts();
  showHealth();
  showFault();
  showResult();
}

// ---------------------------------------------------------------- what is where

function showView(view) {
  document.body.dataset.view = view;
}

/** Show one of: empty, working, fault, result. */
function showAnswer(which) {
  for (const id of ["empty", "working", "fault", "result"]) part(id).hidden = id !== which;
  document.body.dataset.answer = which === "empty" ? "none" : "shown";
  // In one column the answer moves above the document, maybe out of sight.
  if (which !== "empty" && isNarrow()) window.scrollTo(0, 0);
}

function showFacts() {
  for (const pane of PANES) {
    const text = pane.input.value;
    const facts = text ? [words().facts(count(codePoints(text)))] : [];
    if (pane.file) facts.unshift(pane.file);
    for (const node of pane.facts) node.textContent = facts.join(" · ");
  }
  part("facts").textContent = state.texts > 1 ? "" : PANES[0].facts[0].textContent;
  part("clear").hidden = panes().every((pane) => !pane.input.value);
  part("classify").disabled = state.request !== null;
}

function showFault() {
  if (!state.fault) return;
  part("fault-title").textContent = words()[state.fault.title];
  const detail = state.fault.detail;
  part("fault-detail").textContent = typeof detail === "function" ? detail(words()) : detail || "";
  part("fault-detail").lang = typeof detail === "function" ? document.documentElement.lang : "en";
}

function fail(title, detail) {
  state.fault = { title, detail };
  showFault();
  showAnswer("fault");
}

function showResult() {
  if (!state.reply) return;
  showPrediction(state.reply.predictions[0], state.readTexts, state.thresholds);
}

// ---------------------------------------------------------------- the server

async function askHealth() {
  try {
    const reply = await fetch("health/ready", { cache: "no-store" });
    state.health = await reply.json();
    if (state.health.model) await askInfo();
  } catch (error) {
    state.health = { status: "gone" };
  }
  showHealth();
  if (state.health.status !== "ready") setTimeout(askHealth, 1500);
}

/** Learn whether the model judges one text or two, and what its thresholds are. */
async function askInfo() {
  const reply = await fetch("info", { cache: "no-store" });
  if (!reply.ok) return;
  const info = await reply.json();
  const known = info.labels.filter(({ threshold }) => threshold !== null);
  state.thresholds = new Map(known.map(({ label, threshold }) => [label, threshold]));
  const texts = info.text_pair ? 2 : 1;
  if (texts === state.texts) return;
  state.texts = texts;
  document.body.dataset.texts = texts;
  showWords();
}

function showHealth() {
  const health = state.health;
  if (!health) return;
  const status = health.status;
  part("server").dataset.state = status === "ready" ? "ready" : status === "starting" ? "starting" : "failed";
  const known = { ready: "serverReady", starting: "serverStarting", stopping: "serverStopping", failed: "serverFailed", gone: "serverGone" };
  part("server-words").textContent = words()[known[status] || "serverGone"];
  part("server").title = health.reason || "";
  const foot = part("foot");
  foot.replaceChildren();
  const fact = (name, value) => {
    const line = element("span", "", `${name} `);
    line.append(element("b", "", value));
    foot.append(line);
  };
  const model = (state.reply && state.reply.model) || health.model;
  if (model) fact(words().footModel, `${model.name} · v${model.version} · ${model.digest.slice(0, 12)}`);
  if (health.backend) {
    fact(words().footBackend, `${health.backend.name} · ${health.backend.device} · ${health.backend.precision}`);
  }
  if (state.reply) fact(words().footTime, `${state.seconds.toFixed(2)} ${words().seconds}`);
}

/** Whether there is something to classify; says what is missing. */
function isComplete() {
  const missing = panes().filter((pane) => !pane.input.value.trim());
  if (!missing.length) return true;
  const isHalf = missing.length < state.texts;
  fail(isHalf ? "faultHalf" : "faultEmpty", (now) => (isHalf ? now.faultHalfDetail : now.faultEmptyDetail));
  showView("edit");
  missing[0].input.focus();
  return false;
}

async function classify() {
  if (state.request || !isComplete()) return;
  const texts = panes().map((pane) => pane.input.value);
  const [text, text_pair] = texts;
  const request = new AbortController();
  state.request = request;
  state.fault = null;
  state.began = performance.now();
  showFacts();
  const size = count(texts.reduce((total, one) => total + codePoints(one), 0));
  part("working-words").textContent = words().workingSoon(size);
  showAnswer("working");
  const clock = setInterval(() => {
    const seconds = Math.round((performance.now() - state.began) / 1000);
    if (seconds >= 1) part("working-words").textContent = words().working(size, seconds);
  }, 1000);
  try {
    const response = await fetch("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ inputs: { text, text_pair }, evidence: true }),
      signal: request.signal,
    });
    const reply = await response.json();
    if (response.ok) takeReply(reply, texts);
    else refuse(response.status, reply.error);
  } catch (error) {
    if (error.name === "AbortError") showAnswer(state.reply ? "result" : "empty");
    else fail("faultNetwork", (now) => now.faultNetworkDetail);
  } finally {
    clearInterval(clock);
    state.request = null;
    showFacts();
  }
}

function takeReply(reply, texts) {
  state.reply = reply;
  state.readTexts = texts;
  state.seconds = (performance.now() - state.began) / 1000;
  foldScores();
  showResult();
  showHealth();
  showAnswer("result");
  showView("read");
  part("announce").textContent = summary(reply.predictions[0]);
  part("answer").scrollTop = 0;
  scrollToStart();
  showMapViews();
}

function refuse(status, error) {
  const known = [413, 422, 429, 503].includes(status) ? status : 500;
  fail(`fault${known}`, error);
  // The server may have been started anew, with a model of another kind.
  if (status === 422 || status === 503) askHealth();
}

// ---------------------------------------------------------------- files

/** Decode strictly: UTF-8 first, since GB18030 would take most UTF-8 for something else. */
function decode(bytes) {
  const mark = bytes[0] * 256 + bytes[1];
  const names = mark === 0xfffe ? ["utf-16le"] : mark === 0xfeff ? ["utf-16be"] : ["utf-8", "gb18030"];
  for (const name of names) {
    try {
      const text = new TextDecoder(name, { fatal: true }).decode(bytes);
      if (!text.includes("\0")) return { text, encoding: name.toUpperCase() };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  return null;
}

async function readFile(file, pane) {
  const decoded = decode(new Uint8Array(await file.arrayBuffer()));
  if (!decoded) {
    fail("wrongFile", (now) => now.wrongFileDetail(file.name));
    return;
  }
  if (!decoded.text.trim()) {
    fail("wrongFile", (now) => now.emptyFile(file.name));
    return;
  }
  pane.input.value = decoded.text;
  pane.file = words().encoding(file.name, decoded.encoding);
  startOver();
  const missing = panes().find((other) => !other.input.value);
  (missing ? missing.input : part("classify")).focus();
}

/** Forget the last answer, not the texts. */
function startOver() {
  if (state.request) state.request.abort();
  state.reply = null;
  state.fault = null;
  showAnswer("empty");
  showHealth();
  showView("edit");
  showFacts();
}

// ---------------------------------------------------------------- events

part("editor").addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    classify();
  }
});
for (const pane of PANES) {
  pane.input.addEventListener("input", () => {
    if (!pane.input.value) pane.file = "";
    // An answer beside a text that it was not given for would mislead.
    if (state.reply || state.fault) startOver();
    showFacts();
  });
}
for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) readFile(file, PANES[input.dataset.pane]);
    input.value = "";
  });
}
part("edit").addEventListener("click", () => {
  showView("edit");
  part("document").focus();
});
part("clear").addEventListener("click", () => {
  for (const pane of PANES) {
    pane.input.value = "";
    pane.file = "";
  }
  startOver();
  part("document").focus();
});
part("cancel").addEventListener("click", () => state.request && state.request.abort());
part("language").addEventListener("click", () => {
  useLanguage(currentLanguage() === "zh" ? "en" : "zh");
  remembered("language", currentLanguage());
  showWords();
});

// Elements are entered before the last one is left, so the page is left at the last `dragleave`.
let dragDepth = 0;
const holdsFile = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
/** The pane under the pointer; else the one text, or the first that is missing. */
const paneAt = (event) => {
  const under = event.target instanceof Element && event.target.closest("[data-pane]");
  if (state.texts > 1 && under) return PANES[under.dataset.pane];
  return panes().find((pane) => !pane.input.value) || PANES[0];
};
function markTarget(pane) {
  for (const node of document.querySelectorAll(".box, .page")) {
    node.classList.toggle("target", state.texts > 1 && PANES[node.dataset.pane] === pane);
  }
}
function endDrag() {
  dragDepth = 0;
  document.body.classList.remove("dragging");
  markTarget(null);
}
window.addEventListener("dragenter", (event) => {
  if (!holdsFile(event)) return;
  dragDepth += 1;
  document.body.classList.add("dragging");
  markTarget(paneAt(event));
});
window.addEventListener("dragleave", (event) => {
  if (!holdsFile(event)) return;
  dragDepth = Math.max(0, dragDepth - 1);
  if (!dragDepth) endDrag();
});
window.addEventListener("dragover", (event) => holdsFile(event) && event.preventDefault());
window.addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  endDrag();
  const [file] = event.dataTransfer.files;
  if (file) readFile(file, paneAt(event));
});

if (/Mac|iPhone|iPad/.test(navigator.platform)) part("shortcut").textContent = "⌘ + Enter";
useLanguage(chooseLanguage());
showWords();
askHealth();
