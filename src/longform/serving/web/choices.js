// What the user chose and the browser remembers: language and theme.

import { WORDS, words } from "./words.js";

const THEMES = ["auto", "light", "dark"];

export function remembered(key, value) {
  // Storage is forbidden in some company browsers; the choice then lasts as long as the page.
  try {
    if (value !== undefined) localStorage.setItem(`longform.${key}`, value);
    return localStorage.getItem(`longform.${key}`);
  } catch (error) {
    return null;
  }
}

export function chooseLanguage() {
  const stored = new URLSearchParams(location.search).get("lang") || remembered("language");
  if (stored in WORDS) return stored;
  const first = (navigator.languages && navigator.languages[0]) || navigator.language || "en";
  return first.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** Let a button change between the system's theme, light and dark. */
export function setUpTheme(button) {
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
    button.title = words().themes[theme];
    button.setAttribute("aria-label", words().themes[theme]);
    button.dataset.theme = theme;
  };
  const stored = remembered("theme");
  show(THEMES.includes(stored) ? stored : "auto");
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
    remembered("theme", next);
    show(next);
  });
}
