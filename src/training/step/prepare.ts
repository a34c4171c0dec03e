// From options to what every layout starts from: the specialised forward pass with its loss on a tape, the weights in reach of the runtime.
import { differentiate } from "../../autodiff/differentiate.ts";
import { lower } from "../../autodiff/lower/index.ts";
import { specialize } from "../../autodiff/specialize.ts";
import type { Tape } from "../../autodiff/tape.ts";
import { ExpandError, quote, throwIfAborted } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { encodeModel, OnnxType } from "../../graph/onnx.ts";
import { openRuntime, type Runtime, type Session } from "../../runtime/runtime.ts";
import type { TrainerOptions } from "./contract.ts";
import { cutsOf } from "./cuts.ts";
import { placeWeights } from "./files.ts";
import { forwardOf } from "./forward.ts";
import { emitLoss, type Loss } from "./loss.ts";
import { feedParameters, type Parameter, parametersOf } from "./parameters.ts";
import { narrowProducts } from "./precision.ts";
import { type SessionOptions, Sessions } from "./sessions.ts";
import { Store } from "./store.ts";

/** Inputs of our own. The weight is 1 / (counted tokens of the step), times the loss scale. */
export const LABELS = "training/labels";
export const WEIGHT = "training/weight";
/** The output of losses, added up. */
export const LOSS = "training/loss";

/**
 * Folding would widen 16-bit weights into memory; merging would undo that activations are computed twice. The fusions would put composites
 * together again, but only where nothing else reads their inside: the same values would be rounded in two ways. Selectors of quantized
 * nodes copy their weights, and look for them in the body of a Loop only.
 */
const WITHOUT = [
  "ConstantFolding",
  "CommonSubexpressionElimination",
  "QDQSelectorActionTransformer",
  "DivMulFusion",
  "MatMulScaleFusion",
  "QuickGeluFusion",
  "FastGeluFusion",
  "GeluFusionL1",
  "GeluFusionL2",
  "BiasGeluFusion",
  "LayerNormFusionL1",
  "LayerNormFusionL2",
  "SimplifiedLayerNormFusion",
  "SkipLayerNormFusion",
  "BiasSoftmaxFusion",
];

const MEMORY_FIX =
  "Lower --batch (and raise --accumulate) or --context, leave --checkpointing on, or train block by block with --layout offload.";

export interface Prepared {
  readonly options: TrainerOptions;
  readonly runtime: Runtime;
  readonly store: Store;
  /** Forward pass and loss; gradients are appended to it. */
  readonly tape: Tape;
  /** The input of token ids. */
  readonly ids: string;
  readonly logits: string;
  readonly loss: Loss;
  /** Values of the residual stream at which the tape can be cut. */
  readonly cuts: readonly string[];
  /** Gives LOSS. */
  readonly forward: Graph;
  readonly sessions: Sessions;
}

export async function prepare(options: TrainerOptions): Promise<Prepared> {
  const { checkpoint, trainable, batch, context, device, deviceId, threads, signal } = options;
  const { graph, ids, logits, feeds } = forwardOf(checkpoint, batch, context);
  const placed = await placeWeights(graph, options.folder);
  const runtime = await openRuntime({
    device,
    memoryFix: MEMORY_FIX,
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(threads === undefined ? {} : { threads }),
  });
  // The runtime does not hear the signal: a run that is given up would keep the weights that it was lent.
  try {
    throwIfAborted(signal);
    const varying = new Set([ids, ...trainable]);
    const open = (model: Uint8Array): Promise<Session> => runtime.open(model, { without: WITHOUT });
    const tape = await specialize(placed.graph, { feeds, varying, wanted: [logits], open });
    throwIfAborted(signal);
    const parameters = parametersOf(checkpoint, trainable, tape);
    const { value, loss } = emitForward(tape, parameters, logits, options);
    throwIfAborted(signal);
    const openModel = (model: Graph, name: string, more: SessionOptions = {}): Promise<Session> =>
      runtime.open(encodeModel(model.model), {
        ...{ name, folder: placed.folder, without: WITHOUT, memory: "pooled", strict: device !== "cpu" },
        ...more,
      });
    return {
      options,
      runtime,
      store: await Store.read(checkpoint, parameters),
      tape,
      ids,
      logits: value,
      loss,
      cuts: cutsOf(tape, ids, value),
      forward: tape.toGraph("loss"),
      sessions: new Sessions(openModel, device === "cpu" ? undefined : tape),
    };
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

/** Composites that gradients pass are lowered, trainable weights become inputs, and the loss stands at the end. */
function emitForward(
  tape: Tape,
  parameters: readonly Parameter[],
  logits: string,
  { batch, context, device, dtype }: TrainerOptions,
): { readonly value: string; readonly loss: Loss } {
  feedParameters(tape, parameters);
  lower(tape, inputsOf(parameters));
  // CUDA lacks kernels of some composites, which on the CPU are faster whole.
  if (device !== "cpu") lower(tape);
  if (dtype !== "f32") narrowProducts(tape, dtype === "f16" ? OnnxType.FLOAT16 : OnnxType.BFLOAT16);
  const labels = tape.input(LABELS, { type: OnnxType.INT64, shape: [batch, context] });
  const weight = tape.input(WEIGHT, { type: OnnxType.FLOAT, shape: [] });
  const value = tape.resolve(logits);
  const loss = tape.within("loss", () => emitLoss(tape, value, labels, weight));
  tape.withhold(logits);
  tape.output(LOSS, loss.sum);
  return { value, loss };
}

/** The gradient of each part's input, appended to the tape. */
export function emitGradients(prepared: Prepared): ReadonlyMap<string, string> {
  const { tape, store, logits, loss, cuts, options } = prepared;
  const wanted = inputsOf(store.parameters);
  const gradients = differentiate(tape, logits, wanted, {
    seed: loss.gradient,
    ...(options.checkpointing ? { boundaries: cuts } : {}),
  });
  requireAll(store.parameters, gradients);
  return gradients;
}

/** Throws "unsupported" for a trainable tensor that takes part, but in choices only: no gradient leads there. */
export function requireAll(parameters: readonly Parameter[], gradients: ReadonlyMap<string, string>): void {
  const lost = parameters.filter(({ parts }) => parts.some(({ input }) => !gradients.has(input)));
  if (lost.length === 0) return;
  const names = lost.map(({ name }) => quote(name)).join(", ");
  throw new ExpandError("unsupported", `no gradient of the loss reaches ${names}`, {
    fix: "Leave them out of the mask.",
  });
}

function inputsOf(parameters: readonly Parameter[]): readonly string[] {
  return parameters.flatMap(({ parts }) => parts.map(({ input }) => input));
}
