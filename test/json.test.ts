import t from "tap";
import { ExpandError } from "../src/errors.ts";
import { JsonDocument, type JsonValue } from "../src/json.ts";

const CONFIG = `{
  "eps": 1e-05,
  "theta": 10000.0,
  "kinds": [
    "sliding",
    "full"
  ],
  "limits": [0.0, Infinity],
  "nested": {"blocks": 4}
}
`;

function refusal(text: string | Uint8Array): string {
  try {
    JsonDocument.parse("c.json", text);
  } catch (error) {
    if (error instanceof ExpandError) return `${error.tag}: ${error.message} / ${error.fix}`;
    throw error;
  }
  return "not refused";
}

t.test("an edit changes the edited value and not one other byte", async (t) => {
  const rows: readonly [path: string[], value: JsonValue | undefined, from: string, to: string][] = [
    [["nested", "blocks"], 5, '{"blocks": 4}', '{"blocks": 5}'],
    [["kinds"], ["sliding", "full", "full"], '"full"\n', '"full",\n    "full"\n'],
    [["limits"], [0, 0, Number.POSITIVE_INFINITY], "[0.0, Infinity]", "[0.0, 0.0, Infinity]"],
    [["theta"], 20000, "10000.0", "20000.0"],
    [["eps"], 0.5, "1e-05", "0.5"],
    [["nested", "list"], [1, 2], '{"blocks": 4}', '{"blocks": 4, "list": [1, 2]}'],
    [["more"], { a: 1 }, '"nested": {"blocks": 4}', '"nested": {"blocks": 4},\n  "more": {"a": 1}'],
    [["eps"], undefined, '"eps": 1e-05,\n  ', ""],
    [["nested"], undefined, ',\n  "nested": {"blocks": 4}', ""],
    [["absent"], undefined, "", ""],
  ];
  for (const [path, value, from, to] of rows) {
    const edited = JsonDocument.parse("c.json", CONFIG).with(path, value);
    t.equal(
      edited.text,
      CONFIG.replace(from, () => to),
      `${path.join(".")} = ${JSON.stringify(value)}`,
    );
    if (value !== undefined) t.same(edited.get(path), value);
  }
});

t.test("Python's NaN and Infinity are read, and stay data", async (t) => {
  const document = JsonDocument.parse("c.json", '{"a": [NaN, -Infinity, Infinity], "__proto__": {"x": 1}}');
  t.same(document.get(["a"]), [Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]);
  t.same(document.get(["__proto__", "x"]), 1, "a key named __proto__ is a key");
  t.equal(({} as { x?: number }).x, undefined);
});

t.test("an empty object takes its first member", async (t) => {
  t.equal(JsonDocument.parse("c.json", "{}").with(["a"], 1).text, '{"a": 1}');
});

t.test("what is not JSON is refused with its line", async (t) => {
  const rows: readonly [text: string | Uint8Array, message: string][] = [
    ["", "is not JSON: line 1: expected a value, found the end"],
    ["{", "is not JSON: line 1: expected a string, found the end"],
    ["[1,]", 'is not JSON: line 1: expected a value, found "]"'],
    ["[01]", 'is not JSON: line 1: expected "," or "]", found "1]"'],
    ['{"a" 1}', 'is not JSON: line 1: expected ":", found "1}"'],
    ['{\n"a": 1\n"b": 2}', 'is not JSON: line 3: expected "," or "}", found "\\"b\\": 2}"'],
    ["[1] x", 'is not JSON: line 1: expected the end of the file, found "x"'],
    ['{"a": 1, "a": 2}', 'has the key "a" twice'],
    [Uint8Array.of(0x22, 0xff, 0x22), "is not UTF-8 text"],
  ];
  for (const [text, message] of rows) {
    t.equal(refusal(text), `damaged: c.json: ${message} / Correct the file, or take it again from where it came.`);
  }
  t.match(refusal("[".repeat(100_000)), "expected at most 128 levels", "deep nesting does not overflow the stack");
});

t.test("an edit below something that is no object is our bug, not the user's", async (t) => {
  try {
    JsonDocument.parse("c.json", "[1]").with(["a"], 1);
    t.fail("not refused");
  } catch (error) {
    t.equal(error instanceof ExpandError && error.tag, "bug");
  }
});
