// A small model back in one piece: the bytes that the scan left in the file stand inside the model again. Reads all of its weights.
import { ExpandError } from "../../errors.ts";
import { cloneGraph, externalRange, type Graph, putInside, ZEROS } from "../../graph/graph.ts";
import { encodeModel } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";

/** Bytes. Protobuf itself stops at 2 GiB. */
const MAX_INSIDE = 2 ** 30;

/**
 * The model with the data of the locations that `inside` takes (by default all) in raw_data. An untouched inline model
 * gives the bytes of the file that it was read from.
 */
export async function serialise(graph: Graph, inside: (location: string) => boolean = () => true): Promise<Uint8Array> {
  const { model, files } = cloneGraph(graph);
  let total = 0;
  for (const tensor of tensorsOf(model)) {
    const range = externalRange(tensor);
    if (range?.length === undefined || !inside(range.location)) continue;
    total += range.length;
    if (total > MAX_INSIDE) {
      throw new ExpandError("unsupported", `has more than ${MAX_INSIDE} bytes of tensors to put inside of one file`, {
        fix: "Write it with external data.",
      });
    }
    const source = files.get(range.location);
    if (source !== undefined) putInside(tensor, await source.read(range.offset, range.length));
    else if (range.location === ZEROS) putInside(tensor, new Uint8Array(range.length));
  }
  return encodeModel(model);
}
