// Finds what writes the residual stream in one block. Knows the roles of stems (llama.cpp v0.5.0, models/*.cpp); never looks at values.
import { ExpandError } from "../../errors.ts";
import { ZERO } from "../../tensor/reference.ts";
import type { Branch, Factor, FixedTensor } from "../architecture.ts";
import type { GgufFamily } from "./family.ts";

type Side = "attention" | "mlp";
interface Writer {
  readonly stem: string;
  readonly branch: string;
  readonly side: Side;
}

const WRITERS: readonly Writer[] = [
  { stem: "attn_output", branch: "attention", side: "attention" },
  { stem: "vis_attn_output", branch: "vision attention", side: "attention" },
  { stem: "ssm_out", branch: "ssm", side: "attention" },
  { stem: "shortconv.out_proj", branch: "short convolution", side: "attention" },
  { stem: "time_mix_output", branch: "time mix", side: "attention" },
  { stem: "ffn_down", branch: "mlp", side: "mlp" },
  { stem: "vis_down", branch: "vision mlp", side: "mlp" },
  { stem: "ffn_down_exps", branch: "experts", side: "mlp" },
  { stem: "ffn_down_shexp", branch: "shared expert", side: "mlp" },
  { stem: "ffn_down_chexps", branch: "chunk experts", side: "mlp" },
  { stem: "channel_mix_value", branch: "channel mix", side: "mlp" },
];
/** talkie.cpp: each block adds the scaled embeddings. */
const SKIP_SCALE = "layer_output_scale";

const BEFORE_NORM = "a norm follows it, and behind a zeroed projection the norm's slope is 1/sqrt(epsilon)";
const LAST_WEIGHT = "it is the last weight before the residual stream";

/** A block's tensors: name inside the block to full name. */
type Tensors = ReadonlyMap<string, string>;

/** Throws "unsupported" when a branch that the reader computes has no output projection. */
export function branchesOf(family: GgufFamily, tensors: Tensors, where: string): readonly Branch[] {
  const attention = sideBranches(family, tensors, "attention");
  const mlp = sideBranches(family, tensors, "mlp");
  if (!family.singleBranch && (attention.length === 0 || mlp.length === 0)) {
    refuseBlock(
      where,
      `has no output projection of its ${attention.length === 0 ? "attention" : "feed-forward"} branch`,
    );
  }
  const [stem, needs] = family.together ?? [];
  if (stem !== undefined && needs !== undefined && has(tensors, stem) && !has(tensors, needs)) {
    refuseBlock(where, `has "${stem}" but no "${needs}"`);
  }
  return [...attention, ...mlp, ...skipBranch(tensors)];
}

function sideBranches(family: GgufFamily, tensors: Tensors, side: Side): readonly Branch[] {
  const writers = WRITERS.filter((writer) => writer.side === side && has(tensors, writer.stem));
  const norms = (family.outputNorms?.[side] ?? "").split(" ").filter((stem) => has(tensors, stem));
  if (writers.length === 0) return [];
  if (norms.length === 0) {
    return writers.map(({ stem, branch }) => ({
      name: branch,
      factors: [zeros("projection", parameters(tensors, [stem]))],
      preferred: 0,
      why: LAST_WEIGHT,
    }));
  }
  // A bias behind the norm's gain reaches the stream whatever the gain is.
  const biases = norms.flatMap((stem) => tensors.get(`${stem}.bias`) ?? []);
  const gains = norms.flatMap((stem) => tensors.get(`${stem}.weight`) ?? tensors.get(stem) ?? []);
  const projections = parameters(
    tensors,
    writers.map(({ stem }) => stem),
  );
  const factors = [zeros("projection", [...projections, ...biases]), zeros("norm-gain", [...gains, ...biases])];
  return [{ name: side, factors, preferred: 1, why: BEFORE_NORM }];
}

function skipBranch(tensors: Tensors): readonly Branch[] {
  if (!has(tensors, SKIP_SCALE)) return [];
  const factors = [zeros("layer-scale", parameters(tensors, [SKIP_SCALE]))];
  return [{ name: "embedding skip", factors, preferred: 0, why: "it scales embeddings that every block adds" }];
}

export function has(tensors: Tensors, stem: string): boolean {
  return tensors.has(`${stem}.weight`) || tensors.has(stem);
}

/** Weights and biases of stems, by full name. */
function parameters(tensors: Tensors, stems: readonly string[]): readonly string[] {
  return stems.flatMap((stem) => ["", ".weight", ".bias"].flatMap((ending) => tensors.get(`${stem}${ending}`) ?? []));
}

/** GGUF gains are plain (a converter adds the 1 of 1+w), and no ggml type decodes zero bytes to anything but 0. */
function zeros(kind: Factor["kind"], names: readonly string[]): Factor {
  return { kind, tensors: names.map((tensor): FixedTensor => ({ tensor, pattern: ZERO, value: 0 })) };
}

function refuseBlock(where: string, message: string): never {
  throw new ExpandError("unsupported", `${message}; readers then add the output of a norm to the stream`, {
    at: where,
    fix: "Convert the model again with a current llama.cpp.",
  });
}
