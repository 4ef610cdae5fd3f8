"use strict";

// Offsets in the server's answers count Unicode code points; JavaScript strings count UTF-16 units.
// Documents reach the page as text nodes only, never as markup.

const WORDS = {
  en: {
    title: "longform: classify long documents",
    skip: "Skip to the document",
    tagline: "Classify long documents, and see what counted",
    api: "API",
    document: "Document",
    documentLabel: "Text of the document",
    placeholder: "Paste the document here …",
    edit: "Edit",
    clear: "Clear",
    choose: "Choose a file",
    hint: "or drop a .txt here (UTF-8 or GB18030)",
    drop: "Drop the document to read it",
    classify: "Classify",
    cancel: "Cancel",
    supports: "supports the answer",
    opposes: "speaks against it",
    unread: "not read",
    answer: "Answer",
    emptyTitle: "Nothing read yet",
    step1: "Paste a document, or drop a .txt file anywhere on this page. Length does not matter.",
    step2: "Press Classify.",
    step3: "See the label, how much of the document was read, and which passages the answer rests on.",
    privacy: "The text goes to this server only and is not kept.",
    label: "Label",
    scores: "All labels",
    passages: "Passages that mattered most",
    passagesNote: "Percentage points that each adds to the probability of the label, measured by leaving it out.",
    passagesFlat: (points) => `No single passage decides: leaving out any one of them changes the probability by ${points} at most.`,
    passageSingle: "The document is one passage: there is nothing to leave out.",
    passage: (number, total) => `Passage ${number} of ${total}`,
    jump: (number, points) => `Passage ${number}, ${points}: show it in the document`,
    points: (value) => `${value} points`,
    without: (points) => `${points} for the label`,
    withoutDetail: (label, before, after) => `With this passage “${label}” has ${before}, without it ${after}.`,
    legendNote: "The stronger, the more the answer rests on it",
    facts: (characters) => `${characters} characters`,
    working: (characters, seconds) => `Reading ${characters} characters … ${seconds} s`,
    workingSoon: (characters) => `Reading ${characters} characters …`,
    coverageWhole: "Read as a whole",
    coverageCut: "Not read as a whole",
    coverage: (t, T, s, S) => `${t} of ${T} tokens, ${s} of ${S} segments`,
    warning: (share, reason) => `${share} of the document was left out (${reason}). The answer does not rest on that part.`,
    moreLabels: (count) => `Show all ${count} labels`,
    fewerLabels: "Show fewer",
    serverReady: "Ready",
    serverStarting: "The model is loading …",
    serverStopping: "The server is shutting down",
    serverFailed: "The model has failed",
    serverGone: "The server does not answer",
    footModel: "Model",
    footBackend: "Runs on",
    footTime: "Answered in",
    seconds: "s",
    encoding: (name, encoding) => `${name} · ${encoding}`,
    wrongFile: "This file cannot be read here",
    wrongFileDetail: (name) => `${name} is not a plain text in UTF-8 or GB18030. Save the document as .txt and drop it again.`,
    emptyFile: (name) => `${name} holds no text.`,
    faultEmpty: "There is no text to classify",
    faultEmptyDetail: "Paste a document, or drop a .txt file.",
    fault413: "The document is too large for this server, or would not be read as a whole",
    fault422: "The server cannot read this text",
    fault429: "The server is busy; try again in a moment",
    fault503: "The model is not ready",
    fault500: "The model could not answer",
    faultNetwork: "The server does not answer",
    faultNetworkDetail: "Is it still running? Then try again.",
  },
  zh: {
    title: "longform：长文档分类",
    skip: "跳到文档",
    tagline: "长文档分类，并指出依据",
    api: "接口",
    document: "文档",
    documentLabel: "文档正文",
    placeholder: "在此粘贴文档正文……",
    edit: "修改",
    clear: "清空",
    choose: "选择文件",
    hint: "或把 .txt 文件拖到这里（UTF-8 或 GB18030）",
    drop: "松开即可读入文档",
    classify: "分类",
    cancel: "取消",
    supports: "支持该结论",
    opposes: "不利于该结论",
    unread: "未读",
    answer: "结果",
    emptyTitle: "尚未读入文档",
    step1: "粘贴一篇文档，或把 .txt 文件拖到本页任意位置，长短不限。",
    step2: "点击“分类”。",
    step3: "查看类别、文档被读了多少，以及结论依据了哪些段落。",
    privacy: "正文只发送给本服务器，不会留存。",
    label: "类别",
    scores: "全部类别",
    passages: "影响最大的段落",
    passagesNote: "各段为该类别的概率增加的百分点（去掉该段后测得）。",
    passagesFlat: (points) => `没有起决定作用的单个段落：去掉任何一段，概率最多变化 ${points}。`,
    passageSingle: "全文只有一段，没有可以去掉比较的部分。",
    passage: (number, total) => `第 ${number} 段，共 ${total} 段`,
    jump: (number, points) => `第 ${number} 段，${points}：在文档中查看`,
    points: (value) => `${value} 个百分点`,
    without: (points) => `对该类别的作用：${points}`,
    withoutDetail: (label, before, after) => `包含此段时“${label}”的概率为 ${before}，去掉后为 ${after}。`,
    legendNote: "颜色越深，结论越依赖该段",
    facts: (characters) => `${characters} 字`,
    working: (characters, seconds) => `正在阅读 ${characters} 字…… ${seconds} 秒`,
    workingSoon: (characters) => `正在阅读 ${characters} 字……`,
    coverageWhole: "已通读全文",
    coverageCut: "未读完全文",
    coverage: (t, T, s, S) => `已读 ${t} / ${T} 个词元，${s} / ${S} 个片段`,
    warning: (share, reason) => `文档有 ${share} 未被读取（${reason}），结论不包含这部分内容。`,
    moreLabels: (count) => `显示全部 ${count} 个类别`,
    fewerLabels: "收起",
    serverReady: "就绪",
    serverStarting: "模型加载中……",
    serverStopping: "服务器正在关闭",
    serverFailed: "模型已失效",
    serverGone: "服务器无响应",
    footModel: "模型",
    footBackend: "运行于",
    footTime: "用时",
    seconds: "秒",
    encoding: (name, encoding) => `${name} · ${encoding}`,
    wrongFile: "无法读取该文件",
    wrongFileDetail: (name) => `${name} 不是 UTF-8 或 GB18030 编码的纯文本。请另存为 .txt 后重试。`,
    emptyFile: (name) => `${name} 中没有文字。`,
    faultEmpty: "没有可分类的文字",
    faultEmptyDetail: "请粘贴文档，或拖入 .txt 文件。",
    fault413: "文档超出服务器上限，或无法通读全文",
    fault422: "服务器无法读取该文本",
    fault429: "服务器繁忙，请稍后再试",
    fault503: "模型尚未就绪",
    fault500: "模型未能给出结果",
    faultNetwork: "服务器无响应",
    faultNetworkDetail: "请确认服务仍在运行，然后重试。",
  },
};

const SHOWN_LABELS = 6;
const SHOWN_PASSAGES = 5;
const FLAT = 0.005; // Below half a point no passage is said to decide.

const part = (id) => document.getElementById(id);
const state = {
  language: "en",
  fileFact: "",
  file: "",
  reply: null,
  readText: "",
  fault: null,
  health: null,
  allLabels: false,
  request: null,
  began: 0,
  seconds: 0,
};

const words = () => WORDS[state.language];
const count = (value) => value.toLocaleString(state.language === "zh" ? "zh-CN" : "en");
const codePoints = (text) => {
  let total = 0;
  for (const _ of text) total += 1;
  return total;
};

function percent(value) {
  if (value > 0.9995 && value < 1) return ">99.9%";
  if (value < 0.0005 && value > 0) return "<0.1%";
  return `${(value * 100).toFixed(1)}%`;
}

function signedPoints(value) {
  const points = value * 100;
  const digits = Math.abs(points) >= 0.05 || points === 0 ? 1 : 3;
  const sign = points > 0 ? "+" : points < 0 ? "−" : "";
  return words().points(sign + Math.abs(points).toFixed(digits));
}

const isNarrow = () => window.matchMedia("(max-width: 62rem)").matches;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** UTF-16 index of each code-point offset, for offsets in ascending order; one pass over the text. */
function utf16Indices(text, offsets) {
  const indices = [];
  let index = 0;
  let point = 0;
  for (const offset of offsets) {
    while (point < offset && index < text.length) {
      index += text.codePointAt(index) > 0xffff ? 2 : 1;
      point += 1;
    }
    indices.push(index);
  }
  return indices;
}

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

function setLanguage(language) {
  state.language = language;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = words().title;
  for (const node of document.querySelectorAll("[data-words]")) {
    node.textContent = words()[node.dataset.words];
  }
  part("document").placeholder = words().placeholder;
  part("language").textContent = language === "zh" ? "English" : "中文";
  part("language").lang = language === "zh" ? "en" : "zh-CN";
  showFacts();
  showHealth();
  showFault();
  showResult();
}

// ---------------------------------------------------------------- what is where

function showView(view) {
  document.body.dataset.view = view;
  part("edit").hidden = view !== "read";
  showFacts();
}

/** Show one of: empty, working, fault, result. */
function showAnswer(which) {
  for (const id of ["empty", "working", "fault", "result"]) part(id).hidden = id !== which;
  document.body.dataset.answer = which === "empty" ? "none" : "shown";
  // In one column the answer moves above the document, maybe out of sight.
  if (which !== "empty" && isNarrow()) window.scrollTo(0, 0);
}

function showFacts() {
  const text = part("document").value;
  const facts = text ? [words().facts(count(codePoints(text)))] : [];
  if (state.fileFact) facts.unshift(state.fileFact);
  part("facts").textContent = facts.join(" · ");
  part("clear").hidden = !text;
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

// ---------------------------------------------------------------- the server

async function askHealth() {
  try {
    const reply = await fetch("health/ready", { cache: "no-store" });
    state.health = await reply.json();
  } catch (error) {
    state.health = { status: "gone" };
  }
  showHealth();
  if (state.health.status !== "ready") setTimeout(askHealth, 1500);
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

async function classify() {
  const text = part("document").value;
  if (state.request) return;
  if (!text.trim()) {
    fail("faultEmpty", (now) => now.faultEmptyDetail);
    part("document").focus();
    return;
  }
  const request = new AbortController();
  state.request = request;
  state.fault = null;
  state.began = performance.now();
  showFacts();
  const size = count(codePoints(text));
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
      body: JSON.stringify({ inputs: text, evidence: true }),
      signal: request.signal,
    });
    const reply = await response.json();
    if (response.ok) {
      state.reply = reply;
      state.readText = text;
      state.allLabels = false;
      state.seconds = (performance.now() - state.began) / 1000;
      showResult();
      showHealth();
      showAnswer("result");
      showView("read");
      const [prediction] = reply.predictions;
      const read = prediction.coverage.truncated ? words().coverageCut : words().coverageWhole;
      part("announce").textContent = `${prediction.label}, ${percent(prediction.score)}. ${read}`;
      part("answer").scrollTop = 0;
      part("text").scrollTop = 0;
      showMapView();
    } else {
      const known = [413, 422, 429, 503].includes(response.status) ? response.status : 500;
      fail(`fault${known}`, reply.error);
      if (response.status === 503) askHealth();
    }
  } catch (error) {
    if (error.name === "AbortError") showAnswer(state.reply ? "result" : "empty");
    else fail("faultNetwork", (now) => now.faultNetworkDetail);
  } finally {
    clearInterval(clock);
    state.request = null;
    showFacts();
  }
}

// ---------------------------------------------------------------- the answer

function showResult() {
  if (!state.reply) return;
  const prediction = state.reply.predictions[0];
  part("label").textContent = prediction.label;
  part("score").textContent = percent(prediction.score);
  showCoverage(prediction.coverage);
  showScores(prediction.scores);
  const passages = cutPassages(prediction);
  showText(prediction, passages);
  showPassages(prediction, passages);
}

function showCoverage(coverage) {
  const share = coverage.tokens_total ? coverage.tokens_used / coverage.tokens_total : 1;
  part("coverage").className = coverage.truncated ? "coverage cut" : "coverage";
  part("coverage-title").textContent = coverage.truncated ? `⚠ ${words().coverageCut}` : `✓ ${words().coverageWhole}`;
  part("coverage-bar").style.width = `${share * 100}%`;
  part("coverage-words").textContent = words().coverage(
    count(coverage.tokens_used),
    count(coverage.tokens_total),
    count(coverage.segments_used),
    count(coverage.segments_total),
  );
  part("coverage-warning").hidden = !coverage.truncated;
  part("coverage-warning").textContent = words().warning(percent(1 - share), coverage.reason || "?");
}

function showScores(scores) {
  const shown = state.allLabels ? scores : scores.slice(0, SHOWN_LABELS);
  part("scores").replaceChildren(
    ...shown.map(({ label, score }) => {
      const row = element("li");
      const track = element("div", "track still");
      const bar = element("span");
      bar.style.width = `${score * 100}%`;
      track.append(bar);
      track.setAttribute("aria-hidden", "true");
      row.append(element("span", "name", label), element("span", "value", percent(score)), track);
      return row;
    }),
  );
  part("more").hidden = scores.length <= SHOWN_LABELS;
  part("more").textContent = state.allLabels ? words().fewerLabels : words().moreLabels(count(scores.length));
}

/**
 * The stretches of the evidence as UTF-16 ranges in reading order. Overlapping stretches are cut so
 * that each character is shown once, under the first stretch that holds it.
 */
function cutPassages(prediction) {
  const evidence = [...(prediction.evidence || [])].sort((a, b) => a.start - b.start || a.end - b.end);
  const starts = utf16Indices(state.readText, evidence.map((stretch) => stretch.start));
  const byEnd = evidence.map((stretch, index) => [stretch.end, index]).sort((a, b) => a[0] - b[0]);
  const ends = [];
  utf16Indices(state.readText, byEnd.map(([end]) => end)).forEach((value, rank) => {
    ends[byEnd[rank][1]] = value;
  });
  const strongest = evidence.reduce((most, { score }) => Math.max(most, Math.abs(score)), 0);
  let last = 0;
  return evidence.map((stretch, index) => {
    const start = Math.max(starts[index], last);
    const end = Math.max(ends[index], start);
    last = end;
    // The floor keeps differences that change nothing from looking like deciding ones.
    const strength = Math.abs(stretch.score) / Math.max(strongest, 4 * FLAT);
    return { number: index + 1, start, end, score: stretch.score, strength, mark: null };
  });
}

function showText(prediction, passages) {
  const text = state.readText;
  const content = [];
  let last = 0;
  let hasUnread = false;
  const addGap = (from, to) => {
    const gap = text.slice(from, to);
    if (!gap) return;
    const isUnread = prediction.coverage.truncated && passages.length > 0 && gap.trim() !== "";
    hasUnread = hasUnread || isUnread;
    content.push(isUnread ? element("span", "unread-text", gap) : document.createTextNode(gap));
  };
  for (const passage of passages) {
    addGap(last, passage.start);
    const mark = element("mark", side(passage), text.slice(passage.start, passage.end));
    if (passage.strength > 0.5) mark.classList.add("strong");
    mark.style.setProperty("--strength", passage.strength.toFixed(3));
    mark.tabIndex = 0;
    mark.dataset.number = passage.number;
    mark.setAttribute("aria-describedby", "tip");
    const say = (event) => showTip(event, passage, prediction);
    mark.addEventListener("mouseenter", say);
    mark.addEventListener("mousemove", placeTip);
    mark.addEventListener("focus", say);
    mark.addEventListener("mouseleave", hideTip);
    mark.addEventListener("blur", hideTip);
    passage.mark = mark;
    content.push(mark);
    last = passage.end;
  }
  addGap(last, text.length);
  part("text").replaceChildren(...content);
  part("legend").hidden = passages.length === 0;
  part("legend-unread").hidden = !hasUnread;
  part("legend-note").textContent = words().legendNote;
  showMap(passages, text.length);
}

const side = (passage) => (passage.score < 0 ? "opposes" : "supports");

function showMap(passages, length) {
  const map = part("map");
  map.hidden = passages.length === 0;
  map.classList.toggle("cut", state.reply.predictions[0].coverage.truncated);
  const pieces = passages.map((passage) => {
    const piece = element("span", side(passage));
    piece.style.left = `${(passage.start / length) * 100}%`;
    piece.style.width = `${((passage.end - passage.start) / length) * 100}%`;
    piece.style.setProperty("--strength", passage.strength.toFixed(3));
    piece.addEventListener("click", () => jumpTo(passage));
    return piece;
  });
  const view = element("span", "view");
  view.id = "view";
  map.replaceChildren(...pieces, view);
  showMapView();
}

/** Frame on the map the part of the document that is in sight. */
function showMapView() {
  const text = part("text");
  const view = part("view");
  if (!view || !text.scrollHeight) return;
  view.style.left = `${(text.scrollTop / text.scrollHeight) * 100}%`;
  view.style.width = `${Math.min(1, text.clientHeight / text.scrollHeight) * 100}%`;
}

function showPassages(prediction, passages) {
  part("passages-part").hidden = passages.length === 0;
  if (!passages.length) return;
  const ranked = [...passages].sort((a, b) => Math.abs(b.score) - Math.abs(a.score) || a.number - b.number);
  const most = Math.abs(ranked[0].score);
  const note = most < FLAT ? words().passagesFlat(signedPoints(most).replace("+", "")) : words().passagesNote;
  part("passages-note").textContent = passages.length === 1 ? words().passageSingle : note;
  const shown = passages.length === 1 ? [] : ranked.slice(0, SHOWN_PASSAGES);
  part("passages").replaceChildren(
    ...shown.map((passage) => {
      const item = element("li");
      const button = element("button", side(passage));
      button.type = "button";
      const head = element("span", "head");
      head.append(
        element("span", "", words().passage(passage.number, passages.length)),
        element("span", "delta", signedPoints(passage.score)),
      );
      const quote = state.readText.slice(passage.start, passage.start + 400).trim().replace(/\s+/g, " ");
      button.append(head, element("span", "quote", Array.from(quote).slice(0, 120).join("")));
      button.setAttribute("aria-label", words().jump(passage.number, signedPoints(passage.score)));
      button.addEventListener("click", () => jumpTo(passage));
      item.append(button);
      return item;
    }),
  );
}

function jumpTo(passage) {
  showView("read");
  const box = part("text");
  const mark = passage.mark;
  // Measured from the first line: a passage is often taller than the pane.
  const first = mark.getClientRects()[0] || mark.getBoundingClientRect();
  box.scrollTop += first.top - box.getBoundingClientRect().top - box.clientHeight * 0.12;
  if (isNarrow()) part("reader").scrollIntoView();
  mark.focus({ preventScroll: true });
  hideTip();
  mark.classList.remove("found");
  void mark.offsetWidth; // Starts the animation anew.
  mark.classList.add("found");
}

// ---------------------------------------------------------------- tips

function showTip(event, passage, prediction) {
  const tip = part("tip");
  const without = Math.min(1, Math.max(0, prediction.score - passage.score));
  tip.replaceChildren(
    element("b", "", words().without(signedPoints(passage.score))),
    document.createTextNode(words().withoutDetail(prediction.label, percent(prediction.score), percent(without))),
  );
  tip.hidden = false;
  placeTip(event);
}

function placeTip(event) {
  const tip = part("tip");
  let x = event.clientX;
  let y = event.clientY;
  if (x === undefined) {
    const first = event.target.getClientRects()[0];
    const pane = part("text").getBoundingClientRect();
    x = first.left;
    y = Math.min(Math.max(first.top, pane.top + 60), pane.bottom);
  }
  const width = tip.offsetWidth;
  const height = tip.offsetHeight;
  tip.style.left = `${Math.max(8, Math.min(x + 12, window.innerWidth - width - 8))}px`;
  tip.style.top = `${y - height - 14 > 8 ? y - height - 14 : y + 22}px`;
}

function hideTip() {
  part("tip").hidden = true;
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

async function readFile(file) {
  const decoded = decode(new Uint8Array(await file.arrayBuffer()));
  if (!decoded) {
    fail("wrongFile", (now) => now.wrongFileDetail(file.name));
    return;
  }
  if (!decoded.text.trim()) {
    fail("wrongFile", (now) => now.emptyFile(file.name));
    return;
  }
  part("document").value = decoded.text;
  state.fileFact = words().encoding(file.name, decoded.encoding);
  startOver();
  part("classify").focus();
}

/** Forget the last answer, not the text. */
function startOver() {
  if (state.request) state.request.abort();
  state.reply = null;
  state.fault = null;
  showAnswer("empty");
  showHealth();
  showView("edit");
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
part("document").addEventListener("input", () => {
  if (!part("document").value) state.fileFact = "";
  // An answer beside a text that it was not given for would mislead.
  if (state.reply || state.fault) startOver();
  showFacts();
});
part("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) readFile(file);
  event.target.value = "";
});
part("edit").addEventListener("click", () => {
  showView("edit");
  part("document").focus();
});
part("clear").addEventListener("click", () => {
  part("document").value = "";
  state.fileFact = "";
  startOver();
  part("document").focus();
});
part("cancel").addEventListener("click", () => state.request && state.request.abort());
part("more").addEventListener("click", () => {
  state.allLabels = !state.allLabels;
  showScores(state.reply.predictions[0].scores);
});
part("language").addEventListener("click", () => {
  const language = state.language === "zh" ? "en" : "zh";
  remembered("language", language);
  setLanguage(language);
});
part("text").addEventListener("scroll", () => {
  hideTip();
  showMapView();
});
window.addEventListener("resize", showMapView);

let dragDepth = 0;
const holdsFile = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
window.addEventListener("dragenter", (event) => {
  if (!holdsFile(event)) return;
  dragDepth += 1;
  document.body.classList.add("dragging");
});
window.addEventListener("dragleave", (event) => {
  if (!holdsFile(event)) return;
  dragDepth = Math.max(0, dragDepth - 1);
  if (!dragDepth) document.body.classList.remove("dragging");
});
window.addEventListener("dragover", (event) => holdsFile(event) && event.preventDefault());
window.addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  dragDepth = 0;
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file) readFile(file);
});

if (/Mac|iPhone|iPad/.test(navigator.platform)) part("shortcut").textContent = "⌘ + Enter";
setLanguage(chooseLanguage());
askHealth();
