// Several documents: a list of their answers, each of which can be opened beside its text.

import { element, part } from "./elements.js";
import { readText } from "./files.js";
import { asBody, askJson } from "./server.js";
import { percent, words } from "./words.js";

const AT_ONCE = 2;

let run = 0;

/** Forget the list. */
export function endBatch() {
  run += 1;
  part("batch").replaceChildren();
}

/**
 * Read and classify files, and list their answers.
 *
 * @param files the files
 * @param model the model's name, or undefined
 * @param open called with (reply, text, name) when the user chooses an answered one
 * @returns when all are done
 */
export async function classifyFiles(files, model, open) {
  endBatch();
  const mine = run;
  const rows = [...files].map((file) => makeRow(file));
  part("batch").replaceChildren(...rows.map(({ item }) => item));
  const waiting = [...rows];
  const work = async () => {
    while (waiting.length && mine === run) await classifyRow(waiting.shift(), model, open);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

function makeRow(file) {
  const item = element("li");
  const button = element("button");
  button.type = "button";
  button.disabled = true;
  const name = element("span", "name", file.name);
  const said = element("span", "said", words().batchWaiting);
  const detail = element("span", "detail");
  button.append(name, said, detail);
  item.append(button);
  return { file, item, button, said, detail };
}

async function classifyRow({ file, item, button, said, detail }, model, open) {
  said.textContent = words().batchReading;
  try {
    const { text } = await readText(file);
    const reply = await askJson("predict", asBody({ inputs: { text }, model, evidence: true }));
    const [prediction] = reply.predictions;
    const given = prediction.labels || [prediction];
    said.textContent = given.map(({ label }) => label).join(", ") || words().noneGiven;
    const { coverage } = prediction;
    const read = coverage.truncated
      ? `⚠ ${words().coverageCut}: ${percent(coverage.tokens_used / coverage.tokens_total)}`
      : words().coverageWhole;
    const unsure = prediction.abstained ? ` · ${words().abstainedShort}` : "";
    detail.textContent = `${percent(prediction.score)} · ${read}${unsure}`;
    item.className = coverage.truncated ? "cut" : "";
    button.disabled = false;
    button.addEventListener("click", () => open(reply, text, file.name));
  } catch (error) {
    item.className = "failed";
    said.textContent = words().batchFailed;
    detail.textContent = error.message || words().faultNetwork;
  }
}
