// The committed fixtures are what fixtures/make.ts makes, on every supported version of Node.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { makeFixtures } from "../fixtures/make.ts";

t.test("fixtures made again are the same, byte for byte", async (t) => {
  const made = t.testdir();
  makeFixtures(made);
  const committed = path.resolve(import.meta.dirname, "../fixtures");
  const names = fs.readdirSync(made, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => fs.statSync(path.join(made, name)).isFile());
  t.ok(files.length >= 10, `${files.length} files`);
  for (const name of files) {
    const same = fs.readFileSync(path.join(made, name)).equals(fs.readFileSync(path.join(committed, name)));
    t.ok(same, name);
  }
});
