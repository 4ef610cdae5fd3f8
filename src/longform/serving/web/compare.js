// The answer of a second model beside the first one's.

import { element, part } from "./elements.js";
import { asBody, askJson } from "./server.js";
import { percent, words } from "./words.js";

const SHOWN = 3;

/** Offer the models of the server: none to choose from where there is one. */
export function offerModels(models) {
  const names = models.map(({ name }) => name);
  const fill = (select, options) => {
    const before = select.value;
    select.replaceChildren(...options.map(([value, said]) => Object.assign(element("option", "", said), { value })));
    if (options.some(([value]) => value === before)) select.value = before;
  };
  part("models").hidden = names.length < 2;
  fill(part("model"), names.map((name) => [name, name]));
  fill(part("compare"), [["", words().compareNone], ...names.map((name) => [name, name])]);
}

export const chosenModel = () => part("model").value || undefined;

/** Ask the second model, if one is chosen; resolves to its reply, a message, or null. */
export async function askSecond(inputs, signal) {
  const model = part("compare").value;
  if (!model || model === chosenModel()) return null;
  try {
    return await askJson("predict", asBody({ inputs, model }, signal));
  } catch (error) {
    if (error.name === "AbortError") return null;
    return { failed: error.message || words().faultNetwork, model: { name: model } };
  }
}

/** Show both answers side by side. */
export function showComparison(first, second) {
  const box = part("comparison");
  box.hidden = !second;
  if (!second) return;
  if (second.failed !== undefined) {
    box.replaceChildren(element("h3", "", words().compareTitle), element("p", "explain", `${second.model.name}: ${second.failed}`));
    return;
  }
  const answers = [first, second].map(({ predictions }) => predictions[0]);
  const labels = answers.map((answer) => (answer.labels || [answer]).map(({ label }) => label).sort().join(", "));
  const isSame = labels[0] === labels[1];
  const columns = [first, second].map(({ model }, index) => {
    const column = element("div", "column");
    column.append(element("p", "overline", model.name), element("p", "name", labels[index] || words().noneGiven));
    const list = element("ul");
    for (const { label, score } of answers[index].scores.slice(0, SHOWN)) {
      const row = element("li");
      row.append(element("span", "", label), element("span", "value", percent(score)));
      list.append(row);
    }
    column.append(list);
    return column;
  });
  const pair = element("div", "columns");
  pair.append(...columns);
  box.replaceChildren(
    element("h3", "", words().compareTitle),
    element("p", isSame ? "verdict same" : "verdict differs", isSame ? words().compareSame : words().compareDiffers),
    pair,
  );
}
