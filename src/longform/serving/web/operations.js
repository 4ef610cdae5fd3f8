// How the server does: throughput, latency, queue, models and drift, from its own metrics.

import { chooseLanguage, remembered, setUpTheme } from "./choices.js";
import { element, part } from "./elements.js";
import { added, parse, quantile, sum } from "./metrics.js";
import { ask, useKey } from "./server.js";
import { count, currentLanguage, percent, useLanguage, words } from "./words.js";

const SECONDS = 2;
const KEPT = 60;

const history = { times: [], readings: [] };
const series = new Map();

const FIGURES = [
  ["opsRequests", (now, before, seconds) => added(now, before, "longform_tokenize_duration_seconds_count") / seconds, (value) => value.toFixed(1)],
  ["opsErrors", (now, before, seconds) => errors(now, before) / seconds, (value) => value.toFixed(1)],
  ["opsP50", (now, before) => latency(now, before, 0.5), milliseconds],
  ["opsP95", (now, before) => latency(now, before, 0.95), milliseconds],
  ["opsTokens", (now, before, seconds) => added(now, before, "longform_encoded_tokens_total") / seconds, (value) => count(Math.round(value))],
  ["opsQueue", (now) => sum(now, "longform_queue_depth"), (value) => count(value)],
  ["opsQueuedTokens", (now) => sum(now, "longform_queued_tokens"), (value) => count(value)],
  ["opsMemory", (now) => sum(now, "process_resident_memory_bytes"), (value) => `${count(Math.round(value / 2 ** 20))} MB`],
];

function errors(now, before) {
  const failed = (samples) =>
    samples
      .filter(({ name, labels }) => name === "longform_requests_total" && labels.endpoint !== "other" && !/^([123]|OK)/.test(labels.code))
      .reduce((total, { value }) => total + value, 0);
  return Math.max(failed(now) - failed(before), 0);
}

function latency(now, before, share) {
  return quantile(now, before, "longform_request_duration_seconds", share, { endpoint: "/predict" });
}

function milliseconds(value) {
  return value === null ? "–" : `${count(Math.round(value * 1000))} ms`;
}

async function look() {
  try {
    const reply = await ask("metrics");
    if (reply.status === 401) {
      const key = window.prompt(words().keyWanted);
      if (key) useKey(key);
    } else if (reply.ok) {
      take(parse(await reply.text()));
      part("fault").hidden = true;
    }
  } catch (error) {
    part("fault").textContent = words().serverGone;
    part("fault").hidden = false;
    part("server").dataset.state = "failed";
    part("server-words").textContent = words().serverGone;
  }
  setTimeout(look, SECONDS * 1000);
}

function take(samples) {
  history.times.push(performance.now() / 1000);
  history.readings.push(samples);
  if (history.readings.length > KEPT) {
    history.times.shift();
    history.readings.shift();
  }
  const isReady = sum(samples, "longform_ready") === 1;
  part("server").dataset.state = isReady ? "ready" : "starting";
  part("server-words").textContent = isReady ? words().serverReady : words().serverStarting;
  // Rates over the last readings, so that one quiet look does not read as zero.
  const last = history.readings.length - 1;
  const first = Math.max(last - 5, 0);
  const seconds = Math.max(history.times[last] - history.times[first], SECONDS);
  for (const [name, figure] of FIGURES) {
    const values = series.get(name) || [];
    values.push(figure(samples, history.readings[first], seconds));
    series.set(name, values.slice(-KEPT));
  }
  show(samples);
}

function show(samples) {
  part("tiles").replaceChildren(...FIGURES.map(([name, , write]) => makeTile(name, write)));
  showModels(samples);
  showDrift(samples);
}

function makeTile(name, write) {
  const values = series.get(name) || [];
  const tile = element("div", "card tile");
  tile.dataset.figure = name;
  tile.append(element("p", "overline", words()[name]), element("p", "figure", values.length ? write(values.at(-1)) : "–"), makeLine(values));
  return tile;
}

function makeLine(values) {
  const known = values.map((value) => value ?? 0);
  const most = Math.max(...known, 1e-9);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${KEPT - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const start = KEPT - known.length;
  line.setAttribute("points", known.map((value, index) => `${start + index},${19 - (18 * value) / most}`).join(" "));
  svg.append(line);
  return svg;
}

function showModels(samples) {
  const row = (cells, kind) => {
    const made = element("tr");
    made.append(...cells.map((cell) => element(kind, "", cell)));
    return made;
  };
  part("models").tHead.replaceChildren(row(words().opsColumns, "th"));
  const infos = samples.filter(({ name }) => name === "longform_model_info");
  part("models").tBodies[0].replaceChildren(
    ...infos.map(({ labels }) => {
      const address = { model: labels.name, version: labels.version };
      const answered = sum(samples, "longform_predictions_total", address);
      const hits = sum(samples, "longform_cache_hits_total", { model: labels.name });
      const misses = sum(samples, "longform_cache_misses_total", { model: labels.name });
      const isReady = sum(samples, "longform_model_ready", address) === 1;
      return row(
        [
          labels.name,
          labels.version,
          labels.digest.slice(0, 12),
          labels.backend,
          isReady ? words().serverReady : words().serverStarting,
          count(answered),
          count(sum(samples, "longform_truncated_total", { model: labels.name })),
          hits + misses ? percent(hits / (hits + misses)) : "–",
        ],
        "td",
      );
    }),
  );
}

function showDrift(samples) {
  const found = samples.filter(({ name }) => name === "longform_drift_index");
  const rows = found.map(({ labels, value }) => {
    const item = element("li", value > 0.25 ? "given" : "");
    const said = value > 0.25 ? words().opsChanged : value > 0.1 ? words().opsChanging : words().opsSame;
    item.append(element("span", "name", `${labels.model} · ${words().opsQuantities[labels.quantity]}`), element("span", "value", `${value.toFixed(2)} · ${said}`));
    return item;
  });
  part("drift").replaceChildren(...(rows.length ? rows : [element("li", "", words().opsNoDrift)]));
}

function showWords() {
  const isChinese = currentLanguage() === "zh";
  document.documentElement.lang = isChinese ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-words]")) node.textContent = words()[node.dataset.words];
  part("language").textContent = isChinese ? "English" : "中文";
  if (history.readings.length) show(history.readings.at(-1));
}

part("language").addEventListener("click", () => {
  useLanguage(currentLanguage() === "zh" ? "en" : "zh");
  remembered("language", currentLanguage());
  showWords();
});
useLanguage(chooseLanguage());
setUpTheme(part("theme"));
showWords();
look();
