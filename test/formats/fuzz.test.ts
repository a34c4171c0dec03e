// Damaged files of every kind: a reader may refuse them with an ExpandError, and may do nothing else.
import { faultOf, mutated } from "./fuzz/gguf.ts";
import { jsonDocuments } from "./fuzz/json.ts";
import { onnxFiles } from "./fuzz/onnx.ts";
import { indexFiles, safetensorsFiles, safetensorsHeaders } from "./fuzz/safetensors.ts";
import { torchArchives, torchPickles, torchPrograms } from "./fuzz/torch.ts";
import { testDamaged } from "./fuzzing.ts";
import type { FuzzedReader } from "./mutate.ts";

const READERS: readonly FuzzedReader[] = [
  safetensorsFiles,
  safetensorsHeaders,
  indexFiles,
  torchArchives,
  torchPickles,
  torchPrograms,
  jsonDocuments,
  onnxFiles,
  { name: "GGUF files", damaged: mutated, faultOf },
];

testDamaged(READERS, 5000);
