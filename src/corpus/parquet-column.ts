// Where a column's values stand in a Parquet file, by its footer: every offset and count held against the file. Reads no pages.
import type { ByteSource } from "../tensor/source.ts";
import { chooseField } from "./field.ts";
import {
  type Decompress,
  damaged,
  type FileMetaData,
  loadParquet,
  orDamaged,
  type ParquetLibrary,
  type RowGroup,
  type SchemaElement,
  unsupported,
} from "./parquet-library.ts";
import { MAX_THRIFT, thriftEnd } from "./thrift.ts";

/** One row group's share of the column. */
export interface ColumnChunk {
  /** Of the file, from 0 up. */
  readonly firstRow: number;
  readonly rows: number;
  /** Bytes of the file. */
  readonly from: number;
  readonly to: number;
  readonly decompress: Decompress;
}

export interface ParquetColumn {
  readonly library: ParquetLibrary;
  readonly field: string;
  readonly chunks: readonly ColumnChunk[];
  /** Whether a row may have no value. */
  readonly optional: boolean;
}

const MAGIC = "PAR1";
/** Footers of data sets have some kilobytes; each row group takes about 100 bytes per column. */
const MAX_FOOTER = 2 ** 26;
const MIN_SIZE = 12;
const CANNOT = "the footer cannot be read";

export async function openParquetColumn(source: ByteSource, field: string | undefined): Promise<ParquetColumn> {
  const library = await loadParquet();
  const { metadata, footer } = await readFooter(library, source);
  return orDamaged(source, CANNOT, () => columnOf(library, source, metadata, field, footer));
}

function columnOf(
  library: ParquetLibrary,
  source: ByteSource,
  metadata: FileMetaData,
  field: string | undefined,
  footer: number,
): ParquetColumn {
  const columns = topLevel(source, metadata.schema);
  const names = columns.map(({ name }) => name);
  const chosen = chooseField(
    source.name,
    names,
    columns.filter(isText).map(({ name }) => name),
    field,
  );
  const element = columns.find(({ name }) => name === chosen);
  const chunks: ColumnChunk[] = [];
  let firstRow = 0;
  for (const group of metadata.row_groups) {
    const chunk = chunkOf(library, source, group, chosen, firstRow, footer);
    if (chunk.rows > 0) chunks.push(chunk);
    firstRow += chunk.rows;
  }
  return { library, field: chosen, chunks, optional: element?.repetition_type === "OPTIONAL" };
}

async function readFooter(
  library: ParquetLibrary,
  source: ByteSource,
): Promise<{ readonly metadata: FileMetaData; readonly footer: number }> {
  if (source.size < MIN_SIZE) damaged(source, `is not a Parquet file: it has ${source.size} bytes`);
  const tail = Buffer.from(await source.read(source.size - 8, 8));
  const magic = tail.toString("latin1", 4);
  if (magic === "PARE") unsupported(source, "is encrypted", "no encryption");
  if (magic !== MAGIC) damaged(source, "is not a Parquet file: it does not end with PAR1");
  const length = tail.readUInt32LE(0);
  if (length > source.size - MIN_SIZE)
    damaged(source, `the footer claims ${length} bytes, but the file has ${source.size}`);
  if (length > MAX_FOOTER)
    unsupported(source, `the footer has ${length} bytes, more than ${MAX_FOOTER}`, "larger row groups");
  const footer = source.size - 8 - length;
  const bytes = await source.read(footer, length + 8);
  if (thriftEnd(bytes.subarray(0, length), 0) === undefined)
    damaged(source, `${CANNOT}: it is cut, or has more than ${MAX_THRIFT} values`);
  // Statistics are parsed with the rest; none is needed, and a cut one must not stop anything.
  const options = { geoparquet: false, parsers: { jsonFromBytes: () => undefined } };
  return { metadata: orDamaged(source, CANNOT, () => library.parquetMetadata(bytes, options)), footer };
}

/** The root's children; what is below them is left out. */
function topLevel(source: ByteSource, schema: readonly SchemaElement[]): readonly SchemaElement[] {
  const columns: SchemaElement[] = [];
  const end = (at: number, depth: number): number => {
    const element = schema[at];
    if (element === undefined || depth > 64) return damaged(source, "the schema in the footer ends early");
    if (typeof element.name !== "string")
      return damaged(source, "the schema in the footer has a column without a name");
    if (depth === 1) columns.push(element);
    let next = at + 1;
    for (let child = 0; child < (element.num_children ?? 0); child++) next = end(next, depth + 1);
    return next;
  };
  end(0, 0);
  return columns;
}

function isText({ type, repetition_type, num_children, converted_type, logical_type }: SchemaElement): boolean {
  if ((num_children ?? 0) > 0 || type !== "BYTE_ARRAY" || repetition_type === "REPEATED") return false;
  return converted_type === "UTF8" || logical_type?.type === "STRING";
}

function chunkOf(
  library: ParquetLibrary,
  source: ByteSource,
  group: RowGroup,
  name: string,
  firstRow: number,
  end: number,
): ColumnChunk {
  const column = group.columns.find(({ meta_data }) => meta_data?.path_in_schema.join("\0") === name);
  const found = column?.meta_data;
  if (column === undefined || found === undefined)
    return damaged(source, `a row group has no column ${JSON.stringify(name)}`);
  if (column.file_path) unsupported(source, "keeps its columns in other files", "the columns in it");
  if (column.crypto_metadata !== undefined) unsupported(source, "is encrypted", "no encryption");
  const decompress = library.codecs.get(found.codec);
  if (decompress === undefined) return unsupported(source, `is compressed with ${found.codec}`, "zstd or snappy");
  const rows = count(source, group.num_rows);
  const data = count(source, found.data_page_offset);
  const dictionary = count(source, found.dictionary_page_offset ?? 0n);
  const from = dictionary > 0 && dictionary < data ? dictionary : data;
  const to = from + count(source, found.total_compressed_size);
  if (to > end) damaged(source, `a column claims bytes ${from} to ${to}, but data ends at ${end}`);
  if (count(source, found.num_values) !== rows)
    damaged(source, `a row group of ${rows} rows has ${found.num_values} values`);
  return { firstRow, rows, from, to, decompress };
}

function count(source: ByteSource, value: bigint | number | undefined): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  return damaged(source, `the footer claims a count of ${value}`);
}
