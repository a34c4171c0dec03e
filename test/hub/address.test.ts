// What the Hub is called, where it is, who we are there, and what is kept of it on this machine: all without a network.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import t, { type Test } from "tap";
import { ExpandError } from "../../src/errors.ts";
import { addressText, parseAddress } from "../../src/hub/address.ts";
import { cachedBlob, cachedFile, findSnapshot, snapshotFiles } from "../../src/hub/cache.ts";
import { openRepository } from "../../src/hub/repository.ts";
import { hubSettings } from "../../src/hub/settings.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const SHA256 = "a".repeat(64);

/** Message and fix of the error that a call throws. */
function errorOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof ExpandError) return `${error.tag}: ${error.message} | ${error.fix}`;
    throw error;
  }
  return "no error";
}

t.test("an address is read as it was meant, and printed so that it can be typed again", async (t) => {
  for (const [words, repo, revision, inner] of [
    ["owner/name", "owner/name", "main", undefined],
    ["Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", "main", undefined],
    ["_owner/a_b", "_owner/a_b", "main", undefined],
    ["owner/name@v1.0", "owner/name", "v1.0", undefined],
    ["owner/name@feature/x", "owner/name", "feature/x", undefined],
    ["owner/name:model.gguf", "owner/name", "main", "model.gguf"],
    ["owner/name:100%.gguf", "owner/name", "main", "100%.gguf"],
    ["owner/name@refs/pr/3:onnx/model.onnx", "owner/name", "refs/pr/3", "onnx/model.onnx"],
    ["hf://owner/name", "owner/name", "main", undefined],
    ["hf://models/owner/name/", "owner/name", "main", undefined],
    ["hf://owner/name/sub/model.gguf", "owner/name", "main", "sub/model.gguf"],
    ["hf://owner/name@dev/sub/model.gguf", "owner/name", "dev", "sub/model.gguf"],
    ["hf://owner/name@refs/pr/12/model.gguf", "owner/name", "refs/pr/12", "model.gguf"],
    ["hf://owner/name@feature%2Fx/model.gguf", "owner/name", "feature/x", "model.gguf"],
    [`hf://owner/name@${COMMIT}`, "owner/name", COMMIT, undefined],
    ["https://huggingface.co/owner/name", "owner/name", "main", undefined],
    ["https://huggingface.co/owner/name/", "owner/name", "main", undefined],
    ["https://huggingface.co/owner/name/tree/dev", "owner/name", "dev", undefined],
    ["https://huggingface.co/owner/name/blob/main/a%20b.gguf", "owner/name", "main", "a b.gguf"],
    ["https://hf.co/owner/name/resolve/main/m.gguf?download=true", "owner/name", "main", "m.gguf"],
    ["https://huggingface.co/owner/name/raw/refs%2Fpr%2F1/config.json#L3", "owner/name", "refs/pr/1", "config.json"],
  ] as const) {
    const address = parseAddress(words);
    t.same(address, { repo, revision, ...(inner === undefined ? {} : { path: inner }) }, words);
    if (address !== undefined) t.same(parseAddress(addressText(address)), address, `${words} printed and read again`);
  }
});

t.test("words that are no address are left to others", async (t) => {
  const words = [
    "",
    "name",
    "./owner/name",
    "../a",
    "/a/b",
    "a/b/c",
    "owner/",
    "/name",
    "owner/na me",
    "C:\\a\\b",
    "datasets/squad",
  ];
  for (const each of [
    ...words,
    "owner/name@",
    "-a/b",
    "a/.b",
    "https://example.com/owner/name",
    "https://huggingface.co/owner",
  ]) {
    t.equal(parseAddress(each), undefined, each);
  }
});

t.test("an address that leads out of its repository, or to no model, is refused", async (t) => {
  const outside =
    "names a path outside of the repository | Name a file of the repository, such as owner/name:model.gguf.";
  const noModel = "is not the address of a model | Name a model repository, such as hf://owner/name.";
  for (const [words, said] of [
    ["owner/name:../secret", outside],
    ["owner/name:a//b", outside],
    ["owner/name:/etc/passwd", outside],
    ["hf://owner/name/a/../../b", outside],
    ["owner/name:C:/x", outside],
    ["owner/name:a\\b", outside],
    ["https://huggingface.co/owner/name/blob/main/%2e%2e/x", outside],
    ["hf://datasets/owner/name", noModel],
    ["hf://spaces/owner/name", noModel],
    ["https://huggingface.co/datasets/squad", noModel],
    [
      "https://huggingface.co/owner/name/blob/main/%zz",
      "holds a % that encodes nothing | Write %25 for a percent sign.",
    ],
  ] as const) {
    t.equal(
      errorOf(() => parseAddress(words)),
      `usage: ${words}: ${said}`,
    );
  }
});

t.test("the token is the option's, HF_TOKEN's, that of HF_TOKEN_PATH, or that of HF_HOME, in this order", async (t) => {
  const home = t.testdir({ token: "hf_home\n", elsewhere: "hf_file\n", empty: "\n" });
  const env = { HF_HOME: home, HF_TOKEN_PATH: path.join(home, "elsewhere"), HF_TOKEN: "hf_env" };
  t.equal(hubSettings("hf_option", env).token, "hf_option");
  t.equal(hubSettings(undefined, env).token, "hf_env");
  t.equal(hubSettings("", { ...env, HF_TOKEN: "" }).token, "hf_file");
  t.equal(hubSettings(undefined, { HF_HOME: home }).token, "hf_home");
  t.equal(hubSettings(undefined, { HF_HOME: home, HF_TOKEN: "  hf_env \n" }).token, "hf_env");
  t.equal(hubSettings(undefined, { HF_HOME: home, HF_TOKEN_PATH: path.join(home, "empty") }).token, undefined);
  t.equal(hubSettings(undefined, { HF_HOME: path.join(home, "nowhere") }).token, undefined);
  t.notOk("token" in hubSettings(undefined, { HF_HOME: path.join(home, "nowhere") }));
});

t.test("directories, endpoint and offline are those of Python's client", async (t) => {
  const cacheOf = (env: Record<string, string>): string => hubSettings("hf_x", env).cache;
  t.equal(cacheOf({}), path.join(os.homedir(), ".cache", "huggingface", "hub"));
  t.equal(cacheOf({ XDG_CACHE_HOME: "/x" }), path.join("/x", "huggingface", "hub"));
  t.equal(cacheOf({ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }), path.join("/h", "hub"));
  t.equal(cacheOf({ HF_HOME: "~/h" }), path.join(os.homedir(), "h", "hub"));
  t.equal(cacheOf({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }), "/old");
  t.equal(cacheOf({ HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "~" }), os.homedir());
  for (const [value, offline] of [
    ["1", true],
    ["ON", true],
    ["yes", true],
    ["True", true],
    ["0", false],
    ["", false],
    ["no", false],
  ] as const) {
    t.equal(hubSettings("hf_x", { HF_HUB_OFFLINE: value }).offline, offline, `HF_HUB_OFFLINE=${value}`);
  }
  t.equal(hubSettings("hf_x", { TRANSFORMERS_OFFLINE: "1" }).offline, true);
  t.equal(hubSettings("hf_x", {}).endpoint, "https://huggingface.co");
  t.equal(hubSettings("hf_x", { HF_ENDPOINT: "https://hub.example/mirror//" }).endpoint, "https://hub.example/mirror");
});

t.test("settings that would give a token away are refused without showing it", async (t) => {
  const secret = "hf_verysecret";
  const noHub =
    "usage: HF_ENDPOINT: is not the address of a Hub | Set it to an address such as https://huggingface.co, or unset it.";
  for (const [token, env, said] of [
    [
      secret,
      { HF_ENDPOINT: "http://hub.example" },
      "usage: HF_ENDPOINT: http://hub.example is not encrypted; a token sent there could be read on the way | Use an https address, or unset the token.",
    ],
    [
      `${secret}\r\nX-Other: 1`,
      {},
      "usage: the token holds characters that no token has | Copy the token again, from the Hub's settings page.",
    ],
    [
      `${secret}é`,
      {},
      "usage: the token holds characters that no token has | Copy the token again, from the Hub's settings page.",
    ],
    [secret, { HF_ENDPOINT: "hub.example" }, noHub],
    [secret, { HF_ENDPOINT: "ftp://hub.example" }, noHub],
    [secret, { HF_ENDPOINT: `https://:${secret}@hub.example` }, noHub],
    [secret, { HF_ENDPOINT: `https://hub.example?token=${secret}` }, noHub],
  ] as const) {
    const got = errorOf(() => hubSettings(token, env));
    t.equal(got, said);
    t.notMatch(got, secret);
  }
  t.equal(hubSettings(secret, { HF_ENDPOINT: "http://127.0.0.1:8080" }).token, secret);
  t.equal(hubSettings(secret, { HF_ENDPOINT: "http://localhost:8080/" }).endpoint, "http://localhost:8080");
  t.equal(
    hubSettings(undefined, { HF_ENDPOINT: "http://hub.example", HF_HOME: "/nonexistent" }).endpoint,
    "http://hub.example",
  );
});

/** A cache as huggingface_hub leaves it, with links where the system has them. */
function cache(t: Test): string {
  return t.testdir({
    hub: {
      "models--owner--name": {
        refs: { main: `${COMMIT}\n`, refs: { pr: { 1: COMMIT } }, broken: "not a commit", tag: "f".repeat(40) },
        blobs: { [SHA256]: "weights", "1234": "{}", [`${SHA256}.incomplete`]: "wei" },
        snapshots: {
          [COMMIT]: {
            "model.safetensors": t.fixture("symlink", `../../blobs/${SHA256}`),
            "config.json": t.fixture("symlink", "../../blobs/1234"),
            onnx: { "model.onnx": t.fixture("symlink", `../../../blobs/${SHA256}`) },
            "broken.bin": t.fixture("symlink", "../../blobs/missing"),
            "out.bin": t.fixture("symlink", "../../../../secret"),
            plain: "copied, as on Windows",
          },
        },
      },
    },
    secret: "no part of the cache",
  });
}

t.test("the cache is read in the layout of huggingface_hub, links to blobs included", async (t) => {
  const hub = path.join(cache(t), "hub");
  const home = path.join(fs.realpathSync(hub), "models--owner--name");
  const snapshot = findSnapshot(hub, "owner/name", "main");
  t.equal(snapshot?.commit, COMMIT);
  t.same(findSnapshot(hub, "owner/name", COMMIT), snapshot);
  t.same(findSnapshot(hub, "owner/name", "refs/pr/1"), snapshot);
  for (const [repo, revision] of [
    ["owner/name", "other"],
    ["owner/name", "broken"],
    ["owner/name", "tag"],
    ["owner/name", "../main"],
    ["owner/name", "b".repeat(40)],
    ["owner/other", "main"],
  ] as const) {
    t.equal(findSnapshot(hub, repo, revision), undefined, `${repo}@${revision}`);
  }
  t.equal(findSnapshot(path.join(hub, "nowhere"), "owner/name", "main"), undefined);
  if (snapshot === undefined) return;
  t.same(snapshotFiles(snapshot), [
    "broken.bin",
    "config.json",
    "model.safetensors",
    "onnx/model.onnx",
    "out.bin",
    "plain",
  ]);
  t.equal(cachedFile(hub, "owner/name", snapshot, "model.safetensors"), path.join(home, "blobs", SHA256));
  t.equal(cachedFile(hub, "owner/name", snapshot, "onnx/model.onnx"), path.join(home, "blobs", SHA256));
  t.equal(cachedFile(hub, "owner/name", snapshot, "plain"), path.join(home, "snapshots", COMMIT, "plain"));
  for (const file of ["broken.bin", "out.bin", "missing", "onnx", "../main", ""]) {
    t.equal(cachedFile(hub, "owner/name", snapshot, file), undefined, file);
  }
  t.equal(cachedBlob(hub, "owner/name", SHA256), path.join(home, "blobs", SHA256));
  for (const etag of ["b".repeat(64), "1234", "../refs/main", `${SHA256}.incomplete`])
    t.equal(cachedBlob(hub, "owner/name", etag), undefined, etag);
});

t.test("offline, a repository is what the cache holds of it", async (t) => {
  const settings = { endpoint: "http://127.0.0.1:1", cache: path.join(cache(t), "hub"), offline: true };
  const repository = await openRepository({ repo: "owner/name", revision: "main" }, settings);
  t.equal(repository.commit, COMMIT);
  t.same(repository.names(""), ["broken.bin", "config.json", "model.safetensors", "onnx", "out.bin", "plain"]);
  t.equal(Buffer.from(await repository.source("model.safetensors").read(2, 3)).toString(), "igh");
  t.equal(repository.received, 0);
  t.equal(
    errorOf(() => repository.source("broken.bin")),
    "input: owner/name/broken.bin: is not whole in the local cache | Unset HF_HUB_OFFLINE, or download the repository again.",
  );
  const absent: unknown = await openRepository({ repo: "owner/other", revision: "v2" }, settings).catch(
    (error) => error,
  );
  t.equal(
    errorOf(() => {
      throw absent;
    }),
    'network: owner/other@v2: is not in the local cache, and HF_HUB_OFFLINE forbids to ask the Hub | Unset HF_HUB_OFFLINE, or run "hf download owner/other" where there is a network.',
  );
});
