// Small Parquet files with one page of plain strings, in which any number can be made to lie.

/** Fields of a compact Thrift structure, by number. Numbers are i32, bigints i64. */
type Fields = readonly (readonly [field: number, value: Thrift])[];
type Thrift =
  | number
  | bigint
  | string
  | Uint8Array
  | { readonly list: readonly Thrift[] }
  | { readonly struct: Fields };

export interface Lies {
  readonly codec?: number;
  readonly encoding?: number;
  readonly pageType?: number;
  readonly stored?: number;
  readonly decoded?: number;
  readonly pageValues?: number;
  readonly groupRows?: bigint;
  readonly chunkValues?: bigint;
  readonly chunkBytes?: bigint;
  readonly pageOffset?: bigint;
  readonly footerLength?: number;
  readonly magic?: string;
  readonly page?: Uint8Array;
  readonly columns?: readonly string[];
  readonly filePath?: string;
}

/** A file with a required column "text" (or other ones, which all hold the same). */
export function parquetFile(texts: readonly string[], lies: Lies = {}): Uint8Array {
  const page = lies.page ?? Buffer.concat(texts.map((text) => plain(Buffer.from(text))));
  const header = struct([
    [1, lies.pageType ?? 0],
    [2, lies.decoded ?? page.length],
    [3, lies.stored ?? page.length],
    [
      5,
      {
        struct: [
          [1, lies.pageValues ?? texts.length],
          [2, lies.encoding ?? 0],
          [3, 3],
          [4, 3],
        ],
      },
    ],
  ]);
  const bytes = BigInt(header.length + page.length);
  const columns = lies.columns ?? ["text"];
  const rows = BigInt(texts.length);
  const chunk = (name: string): Thrift => ({
    struct: [
      ...(lies.filePath === undefined ? [] : [[1, lies.filePath] as const]),
      [2, 4n],
      [
        3,
        {
          struct: [
            [1, 6],
            [2, { list: [0] }],
            [3, { list: [name] }],
            [4, lies.codec ?? 0],
            [5, lies.chunkValues ?? rows],
            [6, bytes],
            [7, lies.chunkBytes ?? bytes],
            [9, lies.pageOffset ?? 4n],
          ],
        },
      ],
    ],
  });
  const footer = struct([
    [1, 1],
    [
      2,
      {
        list: [
          {
            struct: [
              [4, "root"],
              [5, columns.length],
            ],
          },
          ...columns.map(
            (name): Thrift => ({
              struct: [
                [1, 6],
                [3, 0],
                [4, name],
                [6, 0],
              ],
            }),
          ),
        ],
      },
    ],
    [3, rows],
    [
      4,
      {
        list: [
          {
            struct: [
              [1, { list: columns.map(chunk) }],
              [2, bytes],
              [3, lies.groupRows ?? rows],
            ],
          },
        ],
      },
    ],
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(lies.footerLength ?? footer.length);
  return Buffer.concat([Buffer.from("PAR1"), header, page, footer, length, Buffer.from(lies.magic ?? "PAR1")]);
}

function plain(value: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  return Buffer.concat([length, value]);
}

function struct(fields: Fields): Buffer {
  const parts: Uint8Array[] = [];
  let last = 0;
  for (const [field, value] of fields) {
    parts.push(Uint8Array.of(((field - last) << 4) | typeOf(value)), bytesOf(value));
    last = field;
  }
  return Buffer.concat([...parts, Uint8Array.of(0)]);
}

function typeOf(value: Thrift): number {
  if (typeof value === "number") return 5;
  if (typeof value === "bigint") return 6;
  if (typeof value === "string" || value instanceof Uint8Array) return 8;
  return "list" in value ? 9 : 12;
}

function bytesOf(value: Thrift): Buffer {
  if (typeof value === "number" || typeof value === "bigint") return varint(zigzag(BigInt(value)));
  if (typeof value === "string") return bytesOf(Buffer.from(value));
  if (value instanceof Uint8Array) return Buffer.concat([varint(BigInt(value.length)), value]);
  if ("struct" in value) return struct(value.struct);
  const [first] = value.list;
  const type = first === undefined ? 5 : typeOf(first);
  const head = value.list.length < 15 ? [(value.list.length << 4) | type] : [0xf0 | type];
  const size = value.list.length < 15 ? Buffer.alloc(0) : varint(BigInt(value.list.length));
  return Buffer.concat([Uint8Array.from(head), size, ...value.list.map(bytesOf)]);
}

function zigzag(value: bigint): bigint {
  return value < 0n ? -2n * value - 1n : 2n * value;
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}
