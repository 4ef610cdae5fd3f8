// What the page asks the server: with the key that the server wants, if it wants one.

const STATUS = { backend: 500, overloaded: 429, unhealthy: 503, validation: 422, empty: 422, unauthorized: 401 };

let key = "";
try {
  key = sessionStorage.getItem("longform.key") || "";
} catch (error) {
  key = ""; // Storage is forbidden in some company browsers.
}

/** Keep the key for as long as the tab is open. */
export function useKey(given) {
  key = given;
  try {
    sessionStorage.setItem("longform.key", given);
  } catch (error) {
    return;
  }
}

/** What the server refused, with the status that says why. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("X-API-Key", key);
  return fetch(path, { cache: "no-store", ...options, headers });
}

/** Ask and read JSON; a refusal is thrown. */
export async function askJson(path, options) {
  const reply = await ask(path, options);
  if (!reply.ok) throw await refusalOf(reply);
  return reply.json();
}

export const asBody = (content, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(content),
  signal,
});

async function refusalOf(reply) {
  try {
    return new Refusal(reply.status, (await reply.json()).error);
  } catch (error) {
    return new Refusal(reply.status, "");
  }
}

/**
 * Classify, told as the answer forms.
 *
 * @param content a body of /predict
 * @param signal ends it
 * @param onProgress called with {index, prediction} as documents are read
 * @returns the reply of /predict
 */
export async function classifyStream(content, signal, onProgress) {
  const reply = await ask("predict/stream", asBody(content, signal));
  if (!reply.ok) throw await refusalOf(reply);
  for await (const { event, data } of eventsOf(reply)) {
    if (event === "progress") onProgress(data);
    else if (event === "answer") return data;
    else if (event === "error") throw new Refusal(STATUS[data.error_type] || 500, data.error);
  }
  throw new TypeError("the stream ended without an answer");
}

/** Read server-sent events; EventSource cannot send a document. */
async function* eventsOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event")) yield { event: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

/** The text of a file as the server reads it: Word, PDF, any encoding. */
export async function textOfFile(file) {
  const form = new FormData();
  form.append("files", file, file.name);
  const { files } = await askJson("files/text", { method: "POST", body: form });
  if (files[0].error !== undefined) throw new Refusal(422, files[0].error);
  return files[0].text;
}
