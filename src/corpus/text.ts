// Plain text: a file is one document, which is read in parts of whole lines where it is long. CR LF becomes LF; nothing else is changed.
import type { ByteSource } from "../tensor/source.ts";
import { type Document, pieces, type TextFile } from "./document.ts";
import { decodeText, linesOfPart, partsOf } from "./lines.ts";

export function openText(source: ByteSource): TextFile {
  return { source, parts: partsOf(source.size), documents: (part) => documents(source, part) };
}

async function* documents(source: ByteSource, part: number): AsyncGenerator<Document> {
  const texts: string[] = [];
  let [from, to] = [-1, -1];
  for await (const { offset, bytes } of linesOfPart(source, part)) {
    if (from < 0) from = offset;
    to = Math.min(offset + bytes.length + 1, source.size);
    const line = decodeText(source, bytes, offset);
    texts.push(offset + bytes.length < source.size ? line.replace(/\r$/, "") : line);
  }
  if (from < 0) return;
  const isLast = to >= source.size;
  if (!isLast || (await endsWithLine(source))) texts.push("");
  yield* pieces(texts.join("\n"), { file: source.name, place: `byte ${from}` }, from === 0, isLast);
}

async function endsWithLine(source: ByteSource): Promise<boolean> {
  return (await source.read(source.size - 1, 1))[0] === 10;
}
