// Walks two graphs side by side from their outputs: the same operators, attributes and wiring all the way, whatever the values are called.
// Collects the constants that must be equal; compares none of their bytes.
import { nodeLabel } from "../../graph/attributes.ts";
import {
  type AttributeProto,
  AttributeType,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from "../../graph/onnx.ts";
import { domainOf } from "../../graph/walk.ts";
import { Scope } from "./scope.ts";

/** Constants that must hold the same. Names are those of initializers; attributes carry the label of their node. */
export interface ConstantPair {
  readonly before: TensorProto;
  readonly after: TensorProto;
  readonly name: string;
}

export interface Mismatch {
  /** A node of AFTER, or an output of the graph. */
  readonly at: string;
  readonly message: string;
}

/** What one side of the walk needs beyond its graph: values to be bypassed, by the graph that has them. */
export type Bypassed = ReadonlyMap<GraphProto, ReadonlyMap<string, string>>;

interface Step {
  readonly before: Scope;
  readonly after: Scope;
  readonly names: readonly [before: string, after: string];
  /** What reads the two, for messages. */
  readonly reader: string;
}

const NONE: ReadonlyMap<string, string> = new Map();

export class GraphWalk {
  readonly constants: ConstantPair[] = [];
  readonly #mismatches: Mismatch[] = [];
  readonly #bypassed: Bypassed;
  readonly #inputs: ReadonlyMap<string, string>;
  readonly #seen = new Set<string>();
  /** Scopes by number, for `#seen`; the one of AFTER that goes with each of BEFORE's. */
  readonly #ids = new Map<Scope, number>();
  readonly #partners = new Map<Scope, Scope>();
  readonly #open: Step[] = [];
  #main: Scope | undefined;

  /** `inputs`: names in AFTER of BEFORE's inputs, where they differ. */
  constructor(inputs: ReadonlyMap<string, string>, bypassed: Bypassed) {
    this.#inputs = inputs;
    this.#bypassed = bypassed;
  }

  /** `outputs` are pairs of values of the two main graphs. Stops at the first few mismatches. */
  compare(before: GraphProto, after: GraphProto, outputs: readonly (readonly [string, string])[]): readonly Mismatch[] {
    const scopes = this.#partner(new Scope(before, undefined, NONE), new Scope(after, undefined, this.#around(after)));
    this.#main = scopes[0];
    for (const names of outputs) this.#later(scopes, names, `output ${names[1]}`);
    for (let step = this.#open.pop(); step !== undefined && this.#mismatches.length < 3; step = this.#open.pop()) {
      this.#visit(step);
    }
    return this.#mismatches;
  }

  #around(graph: GraphProto): ReadonlyMap<string, string> {
    return this.#bypassed.get(graph) ?? NONE;
  }

  #later([before, after]: readonly [Scope, Scope], names: readonly [string, string], reader: string): void {
    if (names[0] === "" && names[1] === "") return;
    this.#open.push({ before, after, names, reader });
  }

  #visit({ before, after, names, reader }: Step): void {
    const [one, other] = [before.resolve(names[0]), after.resolve(names[1])];
    const key = `${this.#id(one.scope)} ${one.name}\n${this.#id(other.scope)} ${other.name}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const [a, b] = [one.origin, other.origin];
    if (a.kind === "node" && b.kind === "node") {
      this.#compareNodes([one.scope, other.scope], a, b);
    } else if (a.kind === "initializer" && b.kind === "initializer") {
      this.constants.push({ before: a.tensor, after: b.tensor, name: other.name });
    } else if (a.kind === "input" && b.kind === "input") {
      this.#compareInputs(one, other, a.at === b.at, reader);
    } else {
      this.#differ(reader, `reads ${described(other)} where BEFORE's reads ${described(one)}`);
    }
  }

  /** Inputs of the model go by name, those of a subgraph by place. */
  #compareInputs(
    one: { readonly scope: Scope; readonly name: string },
    other: { readonly scope: Scope; readonly name: string },
    samePlace: boolean,
    reader: string,
  ): void {
    const main = one.scope === this.#main;
    const expected = this.#inputs.get(one.name) ?? one.name;
    const same = this.#partners.get(one.scope) === other.scope && (main ? other.name === expected : samePlace);
    if (!same) this.#differ(reader, `reads the input ${other.name}; expected ${main ? expected : one.name}`);
  }

  #compareNodes(scopes: readonly [Scope, Scope], one: Made, other: Made): void {
    const label = nodeLabel(other.node);
    const fault = faultOf(one, other);
    if (fault !== undefined) {
      this.#differ(label, fault);
      return;
    }
    const [before, after] = [one.node, other.node];
    const inputs = trimmed(after.input);
    for (const [at, name] of trimmed(before.input).entries()) this.#pair(scopes, name, inputs[at] ?? "", label);
    for (const name of new Set([...before.attribute, ...after.attribute].map((each) => each.name))) {
      const [was, is] = [before, after].map(({ attribute }) => attribute.find((each) => each.name === name));
      if (was?.g !== undefined && is?.g !== undefined) {
        const inner = this.#scopesOf(scopes, was.g, is.g);
        if (before.opType === "If") this.#pair(inner, outputOf(was.g, one.slot), outputOf(is.g, other.slot), label);
        else this.#enter(inner, label);
      } else this.#compareAttributes(was, is, label);
    }
  }

  #pair(scopes: readonly [Scope, Scope], before: string, after: string, label: string): void {
    if ((before === "") !== (after === ""))
      this.#differ(label, `${after === "" ? "lacks" : "has"} an input that BEFORE's ${after === "" ? "has" : "lacks"}`);
    else this.#later(scopes, [before, after], label);
  }

  /** All outputs of a subgraph: of a loop, each may feed the next round. */
  #enter(scopes: readonly [Scope, Scope], label: string): void {
    const [before, after] = [scopes[0].graph, scopes[1].graph];
    if (before.output.length !== after.output.length || before.input.length !== after.input.length) {
      this.#differ(label, "holds a graph with other inputs or outputs than BEFORE's");
      return;
    }
    for (const at of before.output.keys()) this.#pair(scopes, outputOf(before, at), outputOf(after, at), label);
  }

  /** One pair of scopes for one pair of graphs, so that each value is seen once. */
  #scopesOf([outer, around]: readonly [Scope, Scope], before: GraphProto, after: GraphProto): readonly [Scope, Scope] {
    for (const pair of this.#partners) if (pair[0].graph === before && pair[1].graph === after) return pair;
    return this.#partner(new Scope(before, outer, NONE), new Scope(after, around, this.#around(after)));
  }

  #partner(before: Scope, after: Scope): readonly [Scope, Scope] {
    this.#partners.set(before, after);
    return [before, after];
  }

  #compareAttributes(before: AttributeProto | undefined, after: AttributeProto | undefined, label: string): void {
    if (before?.t !== undefined && after?.t !== undefined) {
      this.constants.push({ before: before.t, after: after.t, name: `${after.name} of ${label}` });
    } else if (attributeText(before) !== attributeText(after)) {
      const name = (before ?? after)?.name ?? "";
      this.#differ(label, `has ${name} ${attributeText(after)}; expected ${attributeText(before)}`);
    }
  }

  #id(scope: Scope): number {
    const known = this.#ids.get(scope);
    if (known !== undefined) return known;
    this.#ids.set(scope, this.#ids.size);
    return this.#ids.size - 1;
  }

  #differ(at: string, message: string): void {
    this.#mismatches.push({ at, message });
  }
}

type Made = { readonly node: NodeProto; readonly slot: number };

/** Of an `If`, any output may stand for any other: those of copies stand between the originals'. */
function faultOf(one: Made, other: Made): string | undefined {
  const [was, is] = [operatorOf(one.node), operatorOf(other.node)];
  if (was !== is) return `is ${is}; BEFORE has ${was} in its place`;
  if (one.slot !== other.slot && one.node.opType !== "If") {
    return `gives its output ${other.slot}; BEFORE takes output ${one.slot}`;
  }
  const [left, right] = [trimmed(one.node.input).length, trimmed(other.node.input).length];
  return left === right ? undefined : `has ${right} inputs; BEFORE's has ${left}`;
}

function outputOf(graph: GraphProto, at: number): string {
  return graph.output[at]?.name ?? "";
}

function operatorOf({ domain, opType, overload }: NodeProto): string {
  const name = domainOf(domain);
  return `${name === "" ? "" : `${name}.`}${opType}${overload === "" ? "" : `:${overload}`}`;
}

/** Left-out inputs at the end may be written or not. */
function trimmed(names: readonly string[]): readonly string[] {
  return names.slice(0, names.findLastIndex((name) => name !== "") + 1);
}

/** Spells every kind of value but one tensor and one graph, which are compared by themselves. */
function attributeText(attribute: AttributeProto | undefined): string {
  if (attribute === undefined) return "nothing";
  const { type, f, i, s } = attribute;
  if (type === AttributeType.FLOAT) return `${f}`;
  if (type === AttributeType.INT) return `${i}`;
  if (type === AttributeType.STRING) return JSON.stringify(Buffer.from(s).toString("utf8"));
  const { $typeName, name, docString, ...rest } = attribute;
  return JSON.stringify(rest, (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value));
}

function described({ name, origin }: ReturnType<Scope["resolve"]>): string {
  if (origin.kind === "node") return `what ${nodeLabel(origin.node)} makes`;
  if (origin.kind === "nothing") return `${JSON.stringify(name)}, which nothing makes`;
  return `the ${origin.kind} ${name}`;
}
