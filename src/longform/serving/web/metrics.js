// The metrics of the server, read from the text that Prometheus reads.

const LINE = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)$/;
const LABEL = /(?<key>\w+)="(?<value>(?:[^"\\]|\\.)*)"/g;

/** Parse the text into [{name, labels, value}]. */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const { groups } of (found.groups.labels || "").matchAll(LABEL)) labels[groups.key] = groups.value;
    samples.push({ name: found.groups.name, labels, value: Number(found.groups.value) });
  }
  return samples;
}

const fits = (sample, name, wanted) =>
  sample.name === name && Object.entries(wanted).every(([key, value]) => sample.labels[key] === value);

/** Sum of a metric over all labels but those that are wanted. */
export const sum = (samples, name, wanted = {}) =>
  samples.reduce((total, sample) => (fits(sample, name, wanted) ? total + sample.value : total), 0);

/** What was added to a counter between two readings. */
export const added = (now, before, name, wanted) => Math.max(sum(now, name, wanted) - sum(before, name, wanted), 0);

/** A quantile of what a histogram took in between two readings; null where that is nothing. */
export function quantile(now, before, name, share, wanted = {}) {
  const bounds = new Map();
  for (const sample of now) {
    if (fits(sample, `${name}_bucket`, wanted)) bounds.set(sample.labels.le, Number(sample.labels.le.replace("+Inf", "Infinity")));
  }
  const steps = [...bounds].sort((one, other) => one[1] - other[1]);
  const counts = steps.map(([le]) => added(now, before, `${name}_bucket`, { ...wanted, le }));
  const total = counts.at(-1);
  if (!total) return null;
  const rank = share * total;
  const index = counts.findIndex((count) => count >= rank);
  const from = index ? steps[index - 1][1] : 0;
  const to = steps[index][1] === Infinity ? from : steps[index][1];
  const below = index ? counts[index - 1] : 0;
  return from + (to - from) * ((rank - below) / Math.max(counts[index] - below, 1));
}
