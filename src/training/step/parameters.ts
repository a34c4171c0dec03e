// Trainable tensors: which initializers of a graph hold them, and how those become f32 inputs. Reads no weights.
import type { Tape } from "../../autodiff/tape.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../../errors.ts";
import { intAttribute } from "../../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../../graph/onnx.ts";
import { elementCount, isPlainFloat, type Shape } from "../../tensor/dtype.ts";

/** A trainable tensor of the checkpoint. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  /** In the order of its values; more than one where a graph takes slices of it (stacked experts). */
  readonly parts: readonly Part[];
}

/** An f32 input of the graphs. */
export interface Part {
  readonly input: string;
  readonly shape: Shape;
  readonly count: number;
}

/** In the checkpoint's order. Throws "usage" for names that it lacks, "unsupported" for tensors that cannot be trained. */
export function parametersOf(checkpoint: Checkpoint, trainable: ReadonlySet<string>, tape: Tape): readonly Parameter[] {
  for (const name of trainable) {
    if (!checkpoint.tensors.has(name)) {
      throw new ExpandError("usage", `has no tensor ${quote(name)}, which is to be trained`, {
        at: checkpoint.location,
        fix: "Use the mask of this checkpoint.",
      });
    }
  }
  return [...checkpoint.tensors].flatMap(([name, { dtype, shape }]) => {
    if (!trainable.has(name)) return [];
    if (!isPlainFloat(dtype)) {
      throw new ExpandError("unsupported", `is stored as ${dtype}, which no gradient step can change`, {
        at: quote(name),
        fix: "Expand an unquantized checkpoint (F32, F16 or BF16) and train that one.",
      });
    }
    const parts = initializersOf(tape, name).map((part) => partOf(tape, part));
    if (parts.length > 0) return [{ name, shape, parts }];
    throw new ExpandError("unsupported", "is to be trained, but takes no part in the computation of logits", {
      at: quote(name),
      fix: "Leave it out of the mask.",
    });
  });
}

/** Its own, or those of its slices, "name.0", "name.1", ... */
function initializersOf(tape: Tape, name: string): readonly string[] {
  if (tape.initializers.has(name)) return [name];
  const slices: string[] = [];
  while (tape.initializers.has(`${name}.${slices.length}`)) slices.push(`${name}.${slices.length}`);
  return slices;
}

function partOf(tape: Tape, name: string): Part {
  const { shape } = tape.typeOf(name);
  return { input: `${name}@f32`, shape, count: elementCount(shape) ?? 0 };
}

/**
 * Every read of a trainable initializer becomes one of an f32 input. Where the initializer is of another type, casts to f32 fall away, and
 * what else read it gets the input cast.
 */
export function feedParameters(tape: Tape, parameters: readonly Parameter[]): void {
  const inputs = new Map<string, string>();
  for (const { input, shape } of parameters.flatMap(({ parts }) => parts)) {
    inputs.set(input.slice(0, -"@f32".length), tape.input(input, { type: OnnxType.FLOAT, shape }));
  }
  const readers = readersOf(tape);
  tape.rewrite((node) => {
    const input = inputs.get(node.input[0] ?? "");
    if (input !== undefined && isCastToFloat(node)) return [input];
    if (node.input.every((name) => !inputs.has(name))) return undefined;
    const gathersOnly = node.opType === "Gather" && (readers.get(node.output[0] ?? "") ?? []).every(isCastToFloat);
    const reading = node.input.map((name) => {
      const by = inputs.get(name);
      if (by === undefined) return name;
      const { type } = tape.typeOf(name);
      return type === OnnxType.FLOAT || gathersOnly ? by : tape.op("Cast", [by], { to: type });
    });
    return gathersOnly
      ? [tape.op("Gather", reading, { axis: intAttribute(node, "axis", 0) })]
      : tape.again(node, reading);
  });
}

function isCastToFloat(node: NodeProto): boolean {
  return node.opType === "Cast" && intAttribute(node, "to", 0) === OnnxType.FLOAT;
}

function readersOf(tape: Tape): ReadonlyMap<string, readonly NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  for (const node of tape.nodes) {
    for (const name of node.input) readers.set(name, [...(readers.get(name) ?? []), node]);
  }
  return readers;
}
