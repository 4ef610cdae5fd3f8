// The elements of the page: found by id, or made. Documents become text nodes only, never markup.

export const part = (id) => document.getElementById(id);

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Whether the answer stands above the document, in one column. */
export const isNarrow = () => window.matchMedia("(max-width: 62rem)").matches;
