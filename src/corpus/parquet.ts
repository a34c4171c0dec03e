// One column of a Parquet file as documents: row group by row group, page by page, so that a page is all that is in memory. Whatever a page's
// header claims is held against the file before anything is allocated for it.
import type { ByteSource } from "../tensor/source.ts";
import { type Document, pieces, type TextFile } from "./document.ts";
import { type ColumnChunk, openParquetColumn, type ParquetColumn } from "./parquet-column.ts";
import { damaged, orDamaged, type PageHeader, unsupported } from "./parquet-library.ts";
import {
  deltaLengthValues,
  deltaValues,
  dictionaryValues,
  hybrid,
  PageFault,
  plainValues,
  viewOf,
} from "./parquet-values.ts";
import { thriftEnd } from "./thrift.ts";

/** Bytes of one page, stored and decoded. Writers make pages of about 1 MiB. */
const MAX_PAGE = 2 ** 28;
/** Values of one page: a dictionary page says millions of them in a few bytes. Arrow's largest row group has 2^20 rows. */
const MAX_VALUES = 2 ** 22;
/** Bytes that are read for a page's header, which may hold the longest and the shortest value. */
const HEADER = 2 ** 12;
const MAX_HEADER = 2 ** 24;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** One page of one column, all that decoding needs. */
interface Page {
  readonly source: ByteSource;
  readonly column: ParquetColumn;
  readonly chunk: ColumnChunk;
  readonly header: PageHeader;
  /** As stored. */
  readonly bytes: Uint8Array;
}

export async function openParquet(source: ByteSource, field: string | undefined): Promise<TextFile> {
  const column = await openParquetColumn(source, field);
  return {
    source,
    field: column.field,
    parts: column.chunks.length,
    documents: (part) => documents(source, column, part),
  };
}

async function* documents(source: ByteSource, column: ParquetColumn, part: number): AsyncGenerator<Document> {
  const chunk = column.chunks[part];
  if (chunk === undefined) return;
  let row = chunk.firstRow;
  let dictionary: readonly string[] = [];
  for await (const page of pages(source, column, chunk)) {
    if (page.header.type === "DICTIONARY_PAGE") {
      dictionary = decoded(page, () => dictionaryOf(page));
      continue;
    }
    // A row without a value counts, and has no text.
    for (const text of decoded(page, () => rowsOf(page, dictionary))) {
      if (text !== null) yield* pieces(text, { file: source.name, place: `row ${row}` });
      row++;
    }
  }
  const rows = row - chunk.firstRow;
  if (rows !== chunk.rows) damaged(source, `row group ${part} has ${rows} rows, but the footer says ${chunk.rows}`);
}

async function* pages(source: ByteSource, column: ParquetColumn, chunk: ColumnChunk): AsyncGenerator<Page> {
  let rows = 0;
  for (let at = chunk.from; at < chunk.to && rows < chunk.rows; ) {
    const { header, from } = await headerAt(source, column, chunk, at);
    checkSizes(source, header, chunk.to - from);
    at = from + header.compressed_page_size;
    if (header.type === "INDEX_PAGE") continue;
    const isData = header.type !== "DICTIONARY_PAGE";
    const values = checkValues(source, header, isData ? chunk.rows - rows : MAX_VALUES);
    if (isData) rows += values;
    yield { source, column, chunk, header, bytes: await source.read(from, header.compressed_page_size) };
  }
}

/** The header of the page that begins at a byte, and where its data begins; read again, longer, where it does not fit. */
async function headerAt(
  source: ByteSource,
  { library }: ParquetColumn,
  chunk: ColumnChunk,
  at: number,
): Promise<{ readonly header: PageHeader; readonly from: number }> {
  for (let length = HEADER; ; length *= 16) {
    const bytes = await source.read(at, Math.min(length, chunk.to - at));
    const end = thriftEnd(bytes, 0);
    if (end !== undefined) {
      const reader = { view: viewOf(bytes), offset: 0 };
      return { header: orDamaged(source, "a page has no header", () => library.parquetHeader(reader)), from: at + end };
    }
    if (bytes.length < length || length >= MAX_HEADER) damaged(source, `has no page header at byte ${at}`);
  }
}

function checkSizes(source: ByteSource, header: PageHeader, room: number): void {
  const { compressed_page_size: stored, uncompressed_page_size: size } = header;
  if (!isCount(stored) || stored > room) damaged(source, `a page claims ${stored} bytes, but ${room} are left`);
  if (!isCount(size)) damaged(source, `a page claims ${size} bytes`);
  if (Math.max(stored, size) > MAX_PAGE)
    unsupported(source, `a page has ${Math.max(stored, size)} bytes, more than ${MAX_PAGE}`, "smaller pages");
}

function checkValues(source: ByteSource, header: PageHeader, room: number): number {
  const { data_page_header: first, data_page_header_v2: second, dictionary_page_header: dictionary } = header;
  const values = { DATA_PAGE: first, DATA_PAGE_V2: second, DICTIONARY_PAGE: dictionary, INDEX_PAGE: undefined }[
    header.type
  ]?.num_values;
  if (!isCount(values)) return damaged(source, `a page of type ${header.type} claims ${values} values`);
  if (values > room) damaged(source, `a page claims ${values} values, but ${room} are left`);
  if (values > MAX_VALUES) unsupported(source, `a page has ${values} values, more than ${MAX_VALUES}`, "smaller pages");
  return values;
}

function dictionaryOf(page: Page): readonly string[] {
  const data = decompressed(page, page.bytes, page.header.uncompressed_page_size);
  return plainValues(data, page.header.dictionary_page_header?.num_values ?? 0).map(textOf);
}

/** One entry per row; null where it has no value. */
function rowsOf(page: Page, dictionary: readonly string[]): readonly (string | null)[] {
  const { levels, data, encoding, count } = page.header.type === "DATA_PAGE_V2" ? splitSecond(page) : splitFirst(page);
  const present = levels === undefined ? count : levels.reduce((sum, level) => sum + level, 0);
  const texts = valuesOf(page, data, encoding, present, dictionary);
  if (levels === undefined) return texts;
  let next = 0;
  return Array.from(levels, (level) => (level === 0 ? null : (texts[next++] ?? null)));
}

interface Split {
  /** One per row: 1 where it has a value. Undefined when all have. */
  readonly levels: Uint32Array | undefined;
  readonly data: Uint8Array;
  readonly encoding: string;
  readonly count: number;
}

/** A page of the first kind: levels and values are compressed together. */
function splitFirst(page: Page): Split {
  const { num_values: count = 0, encoding = "", definition_level_encoding } = page.header.data_page_header ?? {};
  const all = decompressed(page, page.bytes, page.header.uncompressed_page_size);
  if (!page.column.optional) return { levels: undefined, data: all, encoding, count };
  if (definition_level_encoding !== "RLE")
    unsupported(page.source, `levels are encoded as ${definition_level_encoding}`, "a current Parquet library");
  if (all.length < 4) throw new PageFault("ends before its levels");
  const end = 4 + viewOf(all).getUint32(0, true);
  if (end > all.length) throw new PageFault(`levels end at byte ${end}, but the page has ${all.length}`);
  return { levels: hybrid(all.subarray(4, end), 1, count), data: all.subarray(end), encoding, count };
}

/** A page of the second kind: levels come first, never compressed. */
function splitSecond(page: Page): Split {
  const header = page.header.data_page_header_v2;
  if (header === undefined) throw new PageFault("has no header");
  const { num_values: count, encoding, definition_levels_byte_length: definition } = header;
  const repetition = header.repetition_levels_byte_length;
  const end = repetition + definition;
  if (
    !isCount(repetition) ||
    !isCount(definition) ||
    end > page.bytes.length ||
    end > page.header.uncompressed_page_size
  )
    throw new PageFault(`claims ${end} bytes of levels, but has ${page.bytes.length}`);
  const levels = page.column.optional ? hybrid(page.bytes.subarray(repetition, end), 1, count) : undefined;
  const stored = page.bytes.subarray(end);
  const size = page.header.uncompressed_page_size - end;
  const isStored = header.is_compressed === false || (stored.length === 0 && size === 0);
  return { levels, data: isStored ? stored : decompressed(page, stored, size), encoding, count };
}

function valuesOf(
  page: Page,
  data: Uint8Array,
  encoding: string,
  count: number,
  dictionary: readonly string[],
): readonly string[] {
  switch (encoding) {
    case "PLAIN":
      return plainValues(data, count).map(textOf);
    case "RLE_DICTIONARY":
    case "PLAIN_DICTIONARY":
      return dictionaryValues(data, count, dictionary);
    case "DELTA_LENGTH_BYTE_ARRAY":
      return deltaLengthValues(page.column.library, data, count).map(textOf);
    case "DELTA_BYTE_ARRAY":
      return deltaValues(page.column.library, data, count, MAX_PAGE).map(textOf);
    default:
      return unsupported(page.source, `a page is encoded as ${encoding}`, "plain or dictionary encoding");
  }
}

function decompressed({ chunk }: Page, stored: Uint8Array, size: number): Uint8Array {
  const data = chunk.decompress(stored, size);
  if (data.length !== size) throw new PageFault(`decompresses to ${data.length} bytes, not ${size}`);
  return data;
}

function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

function decoded<Values>({ source }: Page, decode: () => Values): Values {
  return orDamaged(source, "a page cannot be decoded", decode);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
