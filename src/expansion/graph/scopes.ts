// Block numbers in what torch.export writes about each node. For readers only: no runtime looks at it.
import { clone, type NodeProto, StringStringEntryProtoSchema } from "../../graph/onnx.ts";

const KEYS = /^(?:pkg\.torch\.onnx\.(?:name_scopes|class_hierarchy|stack_trace)|namespace)$/;
/** A module path up to its first number: model.layers.3 */
const NUMBERED = /(?:[A-Za-z_]\w*\.)+(\d+)(?![\w])/;

/** Puts the number of a copy where its source's stood. Leaves alone what names no block, or another one. */
export function renumberScopes(node: NodeProto, from: number, at: number): void {
  node.metadataProps = node.metadataProps.map((entry) => {
    const found = KEYS.test(entry.key) ? NUMBERED.exec(entry.value) : null;
    if (found === null || Number(found[1]) !== from) return entry;
    const path = found[0].slice(0, -(found[1]?.length ?? 0));
    const renumbered = entry.value.replaceAll(new RegExp(`${literal(path)}${from}(?!\\w)`, "g"), `${path}${at}`);
    return Object.assign(clone(StringStringEntryProtoSchema, entry), { value: renumbered });
  });
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
