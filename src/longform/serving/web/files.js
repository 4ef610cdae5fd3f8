// Files to texts: plain text is decoded here, what is more than that by the server.

import { textOfFile } from "./server.js";

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

const startsWith = (bytes, letters) => [...letters].every((letter, index) => bytes[index] === letter.charCodeAt(0));

/** Return {text, encoding}; throws a `Refusal` for a file that cannot be read. */
export async function readText(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isPacked = startsWith(bytes, "%PDF-") || startsWith(bytes, "PK\x03\x04");
  const decoded = isPacked ? null : decode(bytes);
  if (decoded) return decoded;
  return { text: await textOfFile(file), encoding: file.name.split(".").pop().toUpperCase() };
}
