// The texts as they were read: shaded by what each passage does for the label, with a map of each.
// Offsets in the server's answers count Unicode code points; JavaScript strings count UTF-16 units.

import { element, isNarrow, part } from "./elements.js";
import { percent, signed, signedPoints, words } from "./words.js";

// The least log-odds that count as strong: differences that change nothing are not to look like
// deciding ones.
const LEAST_STRONGEST = 0.05;

const PANES = [
  { text: part("text"), map: part("map") },
  { text: part("text-pair"), map: part("map-pair") },
];

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

/**
 * The stretches of the evidence in one text as UTF-16 ranges in reading order. Overlapping stretches
 * are cut so that each character is shown once, under the first stretch that holds it.
 */
function cutPassages(text, pane, evidence, strongest) {
  const own = evidence.filter((stretch) => (stretch.part || 0) === pane);
  own.sort((a, b) => a.start - b.start || a.end - b.end);
  const starts = utf16Indices(text, own.map((stretch) => stretch.start));
  const byEnd = own.map((stretch, index) => [stretch.end, index]).sort((a, b) => a[0] - b[0]);
  const ends = [];
  utf16Indices(text, byEnd.map(([end]) => end)).forEach((value, rank) => {
    ends[byEnd[rank][1]] = value;
  });
  let last = 0;
  return own.map((stretch, index) => {
    const start = Math.max(starts[index], last);
    const end = Math.max(ends[index], start);
    last = end;
    const { score, log_odds: logOdds, contribution } = stretch;
    const strength = Math.abs(logOdds) / strongest;
    const figures = { score, logOdds, contribution, strength };
    return { pane, number: index + 1, total: own.length, start, end, ...figures, mark: null };
  });
}

export const side = (passage) => (passage.logOdds < 0 ? "opposes" : "supports");

/** Show the texts with their passages, which are returned in reading order. */
export function showTexts(prediction, texts) {
  const evidence = prediction.evidence || [];
  const strongest = evidence.reduce(
    (most, { log_odds: logOdds }) => Math.max(most, Math.abs(logOdds)),
    LEAST_STRONGEST,
  );
  let hasUnread = false;
  const passages = texts.flatMap((text, pane) => {
    const own = cutPassages(text, pane, evidence, strongest);
    const isUnread = showText(prediction, text, own, PANES[pane]);
    hasUnread = hasUnread || isUnread;
    return own;
  });
  part("legend").hidden = passages.length === 0;
  part("legend-unread").hidden = !hasUnread;
  part("legend-supports").textContent = prediction.labels
    ? words().supportsLabel(prediction.label)
    : words().supports;
  return passages;
}

/** Show one text; return whether a part of it was not read. */
function showText(prediction, text, passages, pane) {
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
    passage.mark = makeMark(passage, text, prediction);
    content.push(passage.mark);
    last = passage.end;
  }
  addGap(last, text.length);
  pane.text.replaceChildren(...content);
  showMap(passages, text.length, pane.map, hasUnread);
  return hasUnread;
}

function makeMark(passage, text, prediction) {
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
  return mark;
}

function showMap(passages, length, map, hasUnread) {
  map.hidden = passages.length === 0;
  map.classList.toggle("cut", hasUnread);
  const pieces = passages.map((passage) => {
    const piece = element("span", side(passage));
    piece.style.left = `${(passage.start / length) * 100}%`;
    piece.style.width = `${((passage.end - passage.start) / length) * 100}%`;
    piece.style.setProperty("--strength", passage.strength.toFixed(3));
    piece.addEventListener("click", () => jumpTo(passage));
    return piece;
  });
  map.replaceChildren(...pieces, element("span", "view"));
}

/** Frame on each map the part of the text that is in sight. */
export function showMapViews() {
  for (const { text, map } of PANES) {
    const view = map.querySelector(".view");
    if (!view || !text.scrollHeight) continue;
    view.style.left = `${(text.scrollTop / text.scrollHeight) * 100}%`;
    view.style.width = `${Math.min(1, text.clientHeight / text.scrollHeight) * 100}%`;
  }
}

export function scrollToStart() {
  for (const { text } of PANES) text.scrollTop = 0;
}

export function jumpTo(passage) {
  document.body.dataset.view = "read"; // The texts may be in the editor.
  const box = PANES[passage.pane].text;
  const mark = passage.mark;
  // Measured from the first line: a passage is often taller than the pane.
  const first = mark.getClientRects()[0] || mark.getBoundingClientRect();
  box.scrollTop += first.top - box.getBoundingClientRect().top - box.clientHeight * 0.12;
  if (isNarrow()) box.closest(".page").scrollIntoView();
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
    element("b", "", words().logOdds(signed(passage.logOdds))),
    element("span", "", words().points(signedPoints(passage.score))),
    element("span", "", words().withoutDetail(prediction.label, percent(prediction.score), percent(without))),
    element("span", "", words().contribution(signed(passage.contribution))),
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
    const pane = event.target.closest(".text").getBoundingClientRect();
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

for (const { text } of PANES) {
  text.addEventListener("scroll", () => {
    hideTip();
    showMapViews();
  });
}
window.addEventListener("resize", showMapViews);
