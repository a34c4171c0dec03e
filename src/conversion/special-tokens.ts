// The token ids that begin, end and fill a sequence, as the source names them. Guesses none.
import type { Checkpoint, Config } from "../checkpoint/checkpoint.ts";
import { ggufNumber } from "../checkpoint/gguf-metadata.ts";
import type { JsonValue } from "../json.ts";

/** Absent where the source does not say. */
export interface SpecialTokens {
  readonly bos?: number;
  readonly eos?: number | readonly number[];
  readonly pad?: number;
}

const GGUF_NAMES = { bos: "bos", eos: "eos", pad: "padding" } as const;

export function specialTokens({ config }: Checkpoint): SpecialTokens {
  const [bos, eos, pad] = [idsOf(config, "bos"), idsOf(config, "eos"), idsOf(config, "pad")];
  const [onlyEos] = eos;
  return {
    ...(bos[0] === undefined ? {} : { bos: bos[0] }),
    ...(onlyEos === undefined ? {} : { eos: eos.length === 1 ? onlyEos : eos }),
    ...(pad[0] === undefined ? {} : { pad: pad[0] }),
  };
}

function idsOf(config: Config, token: keyof typeof GGUF_NAMES): readonly number[] {
  if (config.dialect === "gguf") {
    const entry = config.metadata.entries.get(`tokenizer.ggml.${GGUF_NAMES[token]}_token_id`);
    return entry === undefined ? [] : [ggufNumber(entry)];
  }
  // As in transformers: what the generation settings say wins.
  for (const file of ["generation_config.json", "config.json"]) {
    const value = config.documents.get(file)?.get([`${token}_token_id`]);
    const ids = (Array.isArray(value) ? value : [value]).filter(isId);
    if (ids.length > 0) return ids;
  }
  return [];
}

function isId(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
