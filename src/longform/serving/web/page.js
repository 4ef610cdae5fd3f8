// The life of the page: the editor, the server, and which of its parts are to be seen.

import { foldScores, showPrediction, summary } from "./answer.js";
import { classifyFiles, endBatch } from "./batch.js";
import { chooseLanguage, remembered, setUpTheme } from "./choices.js";
import { askSecond, chosenModel, offerModels, showComparison } from "./compare.js";
import { element, isNarrow, part } from "./elements.js";
import { readText } from "./files.js";
import { scrollToStart, showMapViews } from "./reader.js";
import { askJson, classifyStream, useKey } from "./server.js";
import { count, currentLanguage, percent, useLanguage, words } from "./words.js";

const PANES = [
  { input: part("document"), facts: [part("facts-first"), part("read-first")], file: "" },
  { input: part("document-pair"), facts: [part("facts-second"), part("read-second")], file: "" },
];
const state = {
  texts: 1, // That the model judges together.
  thresholds: new Map(),
  reply: null,
  second: null,
  models: [],
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
  offerModels(state.models);
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
  part("batch-part").hidden = !part("batch").childElementCount;
  if (which === "empty" && !part("batch-part").hidden) part("empty").hidden = true;
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
  showComparison(state.reply, state.second);
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

/** Learn whether the model judges one text or two, what its thresholds are, and which others are. */
async function askInfo() {
  const model = chosenModel();
  let info;
  try {
    info = await askJson(`info${model ? `?model=${encodeURIComponent(model)}` : ""}`);
  } catch (error) {
    if (error.status === 401) askForKey(askInfo);
    return;
  }
  const known = info.labels.filter(({ threshold }) => threshold !== null);
  state.thresholds = new Map(known.map(({ label, threshold }) => [label, threshold]));
  state.models = info.models;
  offerModels(state.models);
  const texts = info.text_pair ? 2 : 1;
  if (texts === state.texts) return;
  state.texts = texts;
  document.body.dataset.texts = texts;
  showWords();
}

/** Ask for the key that the server wants, then do what was wanted. */
function askForKey(then) {
  const dialog = part("key-dialog");
  dialog.onclose = () => {
    const given = part("key").value.trim();
    part("key").value = "";
    if (dialog.returnValue !== "use" || !given) return;
    useKey(given);
    then();
  };
  if (!dialog.open) dialog.showModal();
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
  showSoFar(null);
  const clock = setInterval(() => {
    const seconds = Math.round((performance.now() - state.began) / 1000);
    if (seconds >= 1) part("working-words").textContent = words().working(size, seconds);
  }, 1000);
  try {
    const inputs = { text, text_pair };
    const asked = { inputs, model: chosenModel(), evidence: true };
    const second = askSecond(inputs, request.signal);
    const reply = await classifyStream(asked, request.signal, showSoFar);
    state.second = await second;
    takeReply(reply, texts);
  } catch (error) {
    if (error.name === "AbortError") showAnswer(state.reply ? "result" : "empty");
    else if (error.status === 401) askForKey(classify);
    else if (error.status) refuse(error.status, error.message);
    else fail("faultNetwork", (now) => now.faultNetworkDetail);
    if (error.status === 401) showAnswer("empty");
  } finally {
    clearInterval(clock);
    state.request = null;
    showFacts();
  }
}

/** Show how far the reading is, and the answer so far. */
function showSoFar(progress) {
  const bar = part("working-bar");
  bar.classList.toggle("still", progress !== null);
  part("so-far").hidden = progress === null;
  if (progress === null) {
    bar.firstElementChild.style.width = "";
    bar.removeAttribute("aria-valuenow");
    return;
  }
  const { coverage, label, score } = progress.prediction;
  const share = coverage.tokens_total ? coverage.tokens_used / coverage.tokens_total : 1;
  bar.firstElementChild.style.width = `${share * 100}%`;
  bar.setAttribute("aria-valuenow", Math.round(share * 100));
  part("so-far").textContent = words().soFar(percent(share), label, percent(score));
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
  const known = [401, 404, 413, 422, 429, 503].includes(status) ? status : 500;
  fail(`fault${known}`, error);
  // The server may have been started anew, with a model of another kind.
  if (status === 422 || status === 503) askHealth();
}

// ---------------------------------------------------------------- files

async function readFile(file, pane) {
  let read;
  try {
    read = await readText(file);
  } catch (error) {
    if (error.status === 401) askForKey(() => readFile(file, pane));
    else if (error.status) fail("wrongFile", `${file.name}: ${error.message}`);
    else fail("faultNetwork", (now) => now.faultNetworkDetail);
    return;
  }
  if (!read.text.trim()) {
    fail("wrongFile", (now) => now.emptyFile(file.name));
    return;
  }
  pane.input.value = read.text;
  pane.file = words().encoding(file.name, read.encoding);
  endBatch();
  startOver();
  const missing = panes().find((other) => !other.input.value);
  (missing ? missing.input : part("classify")).focus();
}

/** Take files: one fills a box, several are listed with their answers. */
function takeFiles(files, pane) {
  if (!files.length) return;
  if (files.length === 1 || state.texts > 1) {
    readFile(files[0], pane);
    return;
  }
  startOver();
  part("batch-title").textContent = words().batchTitle(count(files.length));
  classifyFiles(files, chosenModel(), openFromList);
  showAnswer("empty");
}

function openFromList(reply, text, name) {
  PANES[0].input.value = text;
  PANES[0].file = name;
  state.began = performance.now();
  state.second = null;
  takeReply(reply, [text]);
  showFacts();
}

/** Forget the last answer, not the texts. */
function startOver() {
  if (state.request) state.request.abort();
  state.reply = null;
  state.second = null;
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
    takeFiles([...input.files], PANES[input.dataset.pane]);
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
  endBatch();
  startOver();
  part("document").focus();
});
part("model").addEventListener("change", () => {
  startOver();
  askInfo();
});
part("compare").addEventListener("change", startOver);
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
  takeFiles([...event.dataTransfer.files], paneAt(event));
});

if (/Mac|iPhone|iPad/.test(navigator.platform)) part("shortcut").textContent = "⌘ + Enter";
useLanguage(chooseLanguage());
setUpTheme(part("theme"));
showWords();
askHealth();
