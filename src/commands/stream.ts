// An expansion for a disk that is smaller than the model: one file of weights at a time is written, compared, sent and removed; then one
// commit makes all of them visible. Proves the plan of the files first, and each file against its plan.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import { openFolder } from "../formats/open.ts";
import type { Upload } from "../hub/publish.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { compareWritten, plannedSource, resolved } from "../storage/planned.ts";
import { writeFiles } from "../storage/write.ts";
import { listedFolder } from "../tensor/folder.ts";
import { VERSION } from "../version.ts";
import { type Arrangement, arrange } from "./arrangement.ts";
import { type ExpandOptions, type ExpandReport, saveProof } from "./expand.ts";
import type { Expanded } from "./expanded.ts";
import { readManifest, removeStale } from "./output.ts";
import type { Prover } from "./prover.ts";
import { openTarget, type PushTarget, pushRest } from "./push.ts";

/** Throws what `expand` and `push` throw; a proof that fails is in the report, and nothing is written or sent then. */
export async function* streamExpansion(options: ExpandOptions, target: PushTarget, prover: Prover): Run<ExpandReport> {
  const arrangement = yield* arrange(options);
  const { checkpoint, plan, names, mask, refused, write } = arrangement;
  const planned = await openPlanned(arrangement);
  const verification = yield* prover.prove(checkpoint, planned);
  const report = { output: names.shown, plan, mask: mask.counts, refused, verification };
  if (verification.verdict !== "identity") return { ...report, files: [] };
  const goal = { ...target, ...(options.signal === undefined ? {} : { signal: options.signal }) };
  const session = await openTarget(
    goal,
    planned.shards.map(({ name }) => name),
  );
  try {
    const sent = yield* sendWeights(arrangement, session);
    const rest = yield* writeFiles(
      names.directory,
      arrangement.companions,
      (written) => arrangement.finals([...sent, ...written]),
      write,
    );
    removeStale(names, arrangement.earlier, rest);
    saveProof(names, verification);
    const expanded: Expanded = {
      checkpoint: planned,
      directory: names.directory,
      file: names.file,
      sidecar: names.sidecar,
      entries: readManifest(path.join(names.directory, names.sidecar("manifest.json"))) ?? [],
      version: VERSION,
      source: checkpoint.repository,
      plan,
      report: verification,
    };
    const published = yield* pushRest(session, expanded, goal, new Set(sent.map(({ name }) => name)));
    return { ...report, files: [...sent, ...rest], published, streamed: true };
  } finally {
    session.close();
  }
}

/** The output as its readers will see it, read from the plan. Tensors stand where their bytes come from, so that nothing is read twice. */
async function openPlanned({ weights, companions, small, names }: Arrangement): Promise<Checkpoint> {
  const files = new Map([...weights, ...companions, ...small].map((file) => [file.name, file]));
  const sources = new Map([...files].map(([name, file]) => [name, plannedSource(file)]));
  const folder = listedFolder(names.shown, [...files.keys()], (name) => sources.get(name) ?? missing(name));
  const inner = names.file === undefined ? "" : (weights[0]?.name ?? names.file);
  const opened = await openFolder(folder, inner, names.shown);
  const planOf = new Map([...sources].map(([name, source]) => [source, files.get(name)]));
  const tensors = [...opened.tensors].map(([name, tensor]) => {
    const file = tensor.kind === "stored" ? planOf.get(tensor.source) : undefined;
    return [name, file === undefined ? tensor : resolved(tensor, file)] as const;
  });
  return { ...opened, tensors: new Map(tensors) };
}

async function* sendWeights({ weights, names, write }: Arrangement, session: Upload): Run<readonly WrittenFile[]> {
  const scratch = `${names.directory}.stream`;
  claimScratch(scratch, weights);
  const sent: WrittenFile[] = [];
  try {
    for (const file of weights) {
      const [written] = yield* writeFiles(scratch, [file], () => [], { ...write, link: false, resume: false });
      const content = path.join(scratch, file.name);
      const { sha256 } = written ?? {};
      if (written === undefined || sha256 === undefined) throw new ExpandError("bug", `no digest of ${file.name}`);
      yield { kind: "phase", name: `compare ${file.name}` };
      yield* compareWritten(content, file, write.signal);
      yield* session.send([{ name: file.name, content, size: file.size, sha256 }]);
      fs.rmSync(content);
      sent.push(written);
    }
    return sent;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** A directory beside the output that holds nothing but what a killed run left there. */
function claimScratch(scratch: string, weights: readonly FilePlan[]): void {
  const entries = fs.existsSync(scratch) ? fs.readdirSync(scratch) : [];
  const own = new Set(weights.map(({ name }) => name));
  const foreign = entries.filter((entry) => !own.has(entry) && !/^\..+\.partial$/.test(entry));
  if (foreign.length > 0) {
    throw new ExpandError(
      "output",
      `is needed for files on their way to the Hub, and holds ${foreign.slice(0, 3).join(", ")}`,
      {
        at: scratch,
        fix: "Choose another output directory.",
      },
    );
  }
  fs.rmSync(scratch, { recursive: true, force: true });
}

function missing(name: string): never {
  throw new ExpandError("bug", `no file ${name} is planned`);
}
