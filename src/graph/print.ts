// A graph as text, one line a node, for tests and for reading. Reads no weights: of tensors only the smallest show values.
import { externalRange, type Graph, ZEROS } from "./graph.ts";
import {
  type AttributeProto,
  AttributeType,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  OnnxType,
  type TensorProto,
  type TypeProto,
  type ValueInfoProto,
} from "./onnx.ts";
import { typedBytes } from "./typed-data.ts";
import { dtypeOf, typeName } from "./types.ts";
import { domainOf } from "./walk.ts";

export interface PrintOptions {
  /** Say which bytes of which file a tensor is. Default true; false gives the same text wherever the weights are. */
  readonly places?: boolean;
}

/** Values shown of a tensor or a list. */
const SHOWN = 8;

export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const { model } = graph;
  const opsets = model.opsetImport.map(({ domain, version }) => `${domainOf(domain) || "ai.onnx"} ${version}`);
  const places = options.places ?? true;
  const main = model.graph === undefined ? [] : graphLines(model.graph, places);
  const bodies = model.functions.flatMap((body) => functionLines(body, places));
  return `${[`onnx ir ${model.irVersion}, ${opsets.sort().join(", ")}`, ...main, ...bodies].join("\n")}\n`;
}

function graphLines(graph: GraphProto, places: boolean): readonly string[] {
  return [
    `graph ${graph.name}`,
    ...graph.input.map((value) => `input ${valueText(value)}`),
    ...graph.initializer.map((tensor) => `initializer ${tensor.name}: ${tensorText(tensor, places)}`),
    ...graph.sparseInitializer.map(({ values, dims }) => `sparse ${values?.name}: [${dims.join(", ")}]`),
    ...graph.node.flatMap((node) => nodeLines(node, places)),
    ...graph.output.map((value) => `output ${valueText(value)}`),
  ];
}

function functionLines(body: FunctionProto, places: boolean): readonly string[] {
  const formal = [...body.attribute, ...body.attributeProto.map((each) => attributeText(each, places))];
  return [
    `function ${operator(body.domain, body.name)}(${body.input.join(", ")})${formal.map((each) => ` ${each}`).join("")}`,
    ...body.node.flatMap((node) => nodeLines(node, places)),
    `returns ${body.output.join(", ")}`,
  ];
}

function nodeLines(node: NodeProto, places: boolean): readonly string[] {
  const attributes = [...node.attribute].sort((a, b) => (a.name < b.name ? -1 : 1));
  const plain = attributes.filter(({ g, graphs }) => g === undefined && graphs.length === 0);
  const inner = attributes.flatMap(({ name, g, graphs }) =>
    (g === undefined ? graphs : [g, ...graphs]).flatMap((graph) => [
      `  ${name}:`,
      ...graphLines(graph, places).map((line) => `    ${line}`),
    ]),
  );
  const outputs = node.output.map((name) => name || "_").join(", ");
  const inputs = node.input.map((name) => name || "_").join(", ");
  const settings = plain.map((each) => ` ${attributeText(each, places)}`).join("");
  return [`${outputs} = ${operator(node.domain, node.opType)}(${inputs})${settings}`, ...inner];
}

function operator(domain: string, name: string): string {
  return domainOf(domain) === "" ? name : `${domain}.${name}`;
}

function attributeText(attribute: AttributeProto, places: boolean): string {
  if (attribute.refAttrName !== "") return `${attribute.name}=@${attribute.refAttrName}`;
  return `${attribute.name}=${attributeValue(attribute, places)}`;
}

function attributeValue(attribute: AttributeProto, places: boolean): string {
  switch (attribute.type) {
    case AttributeType.INT:
      return `${attribute.i}`;
    case AttributeType.FLOAT:
      return floatText(attribute.f);
    case AttributeType.STRING:
      return JSON.stringify(Buffer.from(attribute.s).toString());
    case AttributeType.INTS:
      return listText(attribute.ints.map(String));
    case AttributeType.FLOATS:
      return listText(attribute.floats.map(floatText));
    case AttributeType.STRINGS:
      return listText(attribute.strings.map((each) => JSON.stringify(Buffer.from(each).toString())));
    case AttributeType.TENSOR:
      return attribute.t === undefined ? "?" : tensorText(attribute.t, places);
    default:
      return AttributeType[attribute.type] ?? "?";
  }
}

function valueText({ name, type }: ValueInfoProto): string {
  return `${name}: ${typeText(type)}`;
}

function typeText(type: TypeProto | undefined): string {
  if (type?.value.case === "sequenceType") return `sequence of ${typeText(type.value.value.elemType)}`;
  if (type?.value.case === "optionalType") return `optional ${typeText(type.value.value.elemType)}`;
  if (type?.value.case !== "tensorType") return type?.value.case ?? "?";
  const { elemType, shape } = type.value.value;
  const element = dtypeOf(elemType) ?? typeName(elemType);
  return shape === undefined
    ? element
    : `${element} [${shape.dim.map((dim) => `${dim.value.value ?? "?"}`).join(", ")}]`;
}

function tensorText(tensor: TensorProto, places: boolean): string {
  const type = `${dtypeOf(tensor.dataType) ?? typeName(tensor.dataType)} [${tensor.dims.join(", ")}]`;
  const range = externalRange(tensor);
  if (range !== undefined) {
    if (range.location === ZEROS) return `${type} zeros`;
    return places ? `${type} ${range.location}+${range.offset}` : type;
  }
  const values = smallValues(tensor);
  return values === undefined ? type : `${type} ${listText(values)}`;
}

/** The values of an inline tensor of the common types, if they are few. */
function smallValues(tensor: TensorProto): readonly string[] | undefined {
  const dtype = dtypeOf(tensor.dataType);
  const count = tensor.dims.reduce((product, size) => product * size, 1n);
  if (dtype === undefined || count > SHOWN) return undefined;
  const data = tensor.rawData.length > 0 ? tensor.rawData : typedBytes(tensor, dtype);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const read = READERS.get(tensor.dataType);
  if (read === undefined || data.length !== Number(count) * read.width) return undefined;
  return Array.from({ length: Number(count) }, (_, index) => read.text(view, index * read.width));
}

interface ValueReader {
  readonly width: number;
  text(view: DataView, at: number): string;
}

const READERS: ReadonlyMap<number, ValueReader> = new Map([
  [OnnxType.FLOAT, { width: 4, text: (view, at) => floatText(view.getFloat32(at, true)) }],
  [OnnxType.DOUBLE, { width: 8, text: (view, at) => `${view.getFloat64(at, true)}` }],
  [OnnxType.INT64, { width: 8, text: (view, at) => `${view.getBigInt64(at, true)}` }],
  [OnnxType.INT32, { width: 4, text: (view, at) => `${view.getInt32(at, true)}` }],
  [OnnxType.UINT8, { width: 1, text: (view, at) => `${view.getUint8(at)}` }],
  [OnnxType.INT8, { width: 1, text: (view, at) => `${view.getInt8(at)}` }],
  [OnnxType.BOOL, { width: 1, text: (view, at) => `${view.getUint8(at) !== 0}` }],
] as const satisfies readonly (readonly [OnnxType, ValueReader])[]);

/** Seven digits tell any two f32 of a model's settings apart, and read as they were written. */
function floatText(value: number): string {
  return `${Number(value.toPrecision(7))}`;
}

function listText(values: readonly string[]): string {
  const shown = values.slice(0, SHOWN).join(", ");
  return `[${shown}${values.length > SHOWN ? `, ... ${values.length}` : ""}]`;
}
