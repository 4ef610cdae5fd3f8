// The answer beside the texts: label or labels, coverage, all scores, the passages that mattered.

import { element, part } from "./elements.js";
import { jumpTo, showTexts, side } from "./reader.js";
import { count, percent, signed, signedPoints, words } from "./words.js";

const SHOWN_LABELS = 6;
const SHOWN_PASSAGES = 5;
const FLAT = 0.005; // Below half a point no passage is said to decide.

let isLong = false;

/**
 * Show a prediction.
 *
 * @param prediction one of the server's `predictions`
 * @param texts the text, or the two texts, that were sent
 * @param thresholds a map from label to threshold; empty for a model of one label
 */
export function showPrediction(prediction, texts, thresholds) {
  showLabels(prediction);
  showCoverage(prediction);
  showScores(prediction, thresholds);
  showPassages(prediction, showTexts(prediction, texts), texts.length);
}

/** Show few scores again, for a new answer. */
export function foldScores() {
  isLong = false;
}

/** One sentence for those who hear the page. */
export function summary(prediction) {
  const given = prediction.labels || [prediction];
  const labels = given.map(({ label, score }) => `${label}, ${percent(score)}`).join("; ");
  const read = prediction.coverage.truncated ? words().coverageCut : words().coverageWhole;
  const unsure = prediction.abstained ? ` ${words().abstained}` : "";
  return `${labels || words().noneGiven}.${unsure} ${read}`;
}

function showDoubt({ abstained, prediction_set: possible = [] }) {
  const said = abstained ? [words().abstained] : [];
  if (possible.length > 1) said.push(words().possible(possible));
  part("doubt").hidden = said.length === 0;
  part("doubt").textContent = said.join(" ");
}

function showLabels(prediction) {
  showDoubt(prediction);
  const given = prediction.labels;
  const isEmpty = given !== undefined && given.length === 0;
  part("one-label").hidden = given !== undefined;
  part("given").hidden = given === undefined || isEmpty;
  part("none-given").hidden = !isEmpty;
  part("label-title").hidden = isEmpty;
  if (given === undefined) {
    part("label-title").textContent = words().label;
    part("label").textContent = prediction.label;
    part("score").textContent = percent(prediction.score);
    return;
  }
  part("label-title").textContent = words().labels(given.length);
  part("given").replaceChildren(
    ...given.map(({ label, score }) => {
      const chip = element("li", "chip");
      chip.append(element("span", "name", label), element("span", "value", percent(score)));
      return chip;
    }),
  );
}

function showCoverage({ coverage, warnings = [] }) {
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
  const doubts = coverage.truncated ? [words().warning(percent(1 - share), coverage.reason || "?"), ...warnings] : warnings;
  part("coverage-warning").hidden = doubts.length === 0;
  part("coverage-warning").textContent = doubts.join(" ");
}

function showScores(prediction, thresholds) {
  const scores = prediction.scores;
  const given = new Set((prediction.labels || [prediction]).map(({ label }) => label));
  // No label that is given is folded away.
  const lastGiven = scores.findLastIndex(({ label }) => given.has(label));
  const few = Math.max(SHOWN_LABELS, lastGiven + 1);
  const shown = isLong ? scores : scores.slice(0, few);
  part("threshold-note").hidden = thresholds.size === 0;
  part("scores").replaceChildren(
    ...shown.map(({ label, score }) => makeBar(label, score, given.has(label), thresholds.get(label))),
  );
  part("more").hidden = scores.length <= few;
  part("more").textContent = isLong ? words().fewerLabels : words().moreLabels(count(scores.length));
  part("more").onclick = () => {
    isLong = !isLong;
    showScores(prediction, thresholds);
  };
}

function makeBar(label, score, isGiven, threshold) {
  const row = element("li", isGiven ? "given" : "");
  const value = element("span", "value", percent(score));
  const track = element("div", "track still");
  const fill = element("span", "fill");
  fill.style.width = `${score * 100}%`;
  track.append(fill);
  track.setAttribute("aria-hidden", "true");
  if (threshold !== undefined) {
    const said = words().threshold(percent(threshold));
    const stroke = element("span", "threshold");
    stroke.style.left = `${threshold * 100}%`;
    track.append(stroke);
    row.title = said;
    value.append(element("span", "hidden", `, ${said}`));
  }
  row.append(element("span", "name", label), value, track);
  return row;
}

function showPassages(prediction, passages, texts) {
  part("passages-part").hidden = passages.length === 0;
  if (!passages.length) return;
  const ranked = [...passages].sort(
    (a, b) => Math.abs(b.logOdds) - Math.abs(a.logOdds) || a.pane - b.pane || a.number - b.number,
  );
  part("passages-note").textContent = describePassages(prediction, ranked);
  part("passages-method").textContent = describeMethod(prediction.explanation);
  const shown = passages.length === 1 ? [] : ranked.slice(0, SHOWN_PASSAGES);
  part("passages").replaceChildren(...shown.map((passage) => makePassage(passage, texts)));
}

function describePassages(prediction, ranked) {
  if (ranked.length === 1) return words().passageSingle;
  const most = ranked.reduce((so, { score }) => Math.max(so, Math.abs(score)), 0);
  const note = prediction.labels ? words().passagesNoteLabel(prediction.label) : words().passagesNote;
  if (most >= FLAT) return note;
  return `${words().passagesFlat(words().points(signedPoints(most).replace("+", "")))} ${note}`;
}

/** What the contributions are, in the tips of the passages: a sum, or a difference each. */
function describeMethod(explanation) {
  if (!explanation) return "";
  const { method, logit, base } = explanation;
  return method === "exact"
    ? words().methodExact(signed(logit), signed(base))
    : words().methodLeaveOneOut(signed(logit));
}

function makePassage(passage, texts) {
  const place =
    texts > 1
      ? words().passageOf(passage.pane ? words().second : words().first, passage.number, passage.total)
      : words().passage(passage.number, passage.total);
  const said = words().logOdds(signed(passage.logOdds));
  const item = element("li");
  const button = element("button", side(passage));
  button.type = "button";
  const head = element("span", "head");
  const figures = element("span", "figures");
  figures.append(
    element("span", "delta", said),
    element("span", "points", words().points(signedPoints(passage.score))),
  );
  head.append(element("span", "", place), figures);
  const quote = passage.mark.textContent.slice(0, 400).trim().replace(/\s+/g, " ");
  button.append(head, element("span", "quote", Array.from(quote).slice(0, 120).join("")));
  button.setAttribute("aria-label", words().jump(place, said));
  button.addEventListener("click", () => jumpTo(passage));
  item.append(button);
  return item;
}
