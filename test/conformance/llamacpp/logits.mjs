// Computes logits with llama.cpp v0.5.0 itself. Runs on its own, so that a crash in the library takes nothing else down.
//
//   node logits.mjs MODEL.gguf IDS.json OUT.f32 [logits|embeddings]
//
// IDS.json is an array of token ids; OUT.f32 gets little-endian f32 of shape [tokens, width]. One line of JSON goes to stdout.
// Exit status: 0 done, 1 llama.cpp refuses the model, 2 wrong arguments, 3 not available here.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

// Parameter structs go by value, so another version of the library would read garbage: both versions are exact.
const PINNED = { koffi: "3.3.4", "@node-llama-cpp/linux-x64": "3.22.1" };
const LLAMA_CPP = "v0.5.0";
const here = import.meta.dirname;

class Stop extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function loadPackages() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Stop(3, `linux x64 is needed, this is ${process.platform} ${process.arch}`);
  }
  for (const [name, version] of Object.entries(PINNED)) {
    const file = path.join(here, "node_modules", name, "package.json");
    if (!fs.existsSync(file)) throw new Stop(3, `${name} is not installed: run npm ci in ${here}`);
    const found = JSON.parse(fs.readFileSync(file, "utf8")).version;
    if (found !== version) throw new Stop(3, `${name} is ${found}; exactly ${version} is needed`);
  }
  const libraries = path.join(here, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64");
  return { koffi: createRequire(import.meta.url)("koffi"), libraries };
}

function bind(koffi, libraries) {
  // Each library needs the one before it, with its symbols visible.
  const open = (file) => koffi.load(path.join(libraries, file), { global: true });
  open("libggml-base.so");
  const ggml = open(`libggml.${LLAMA_CPP}.so`);
  const llama = open(`libllama.${LLAMA_CPP}.so`);
  koffi.struct("llama_model_params", fields(MODEL_PARAMS));
  koffi.struct("llama_context_params", fields(CONTEXT_PARAMS));
  koffi.struct("llama_batch", fields(BATCH));
  const Log = koffi.proto("void log_callback(int level, const char *text, void *user_data)");
  const f = (declaration) => llama.func(declaration);
  return {
    Log,
    loadBackends: ggml.func("void ggml_backend_load_all_from_path(const char *)"),
    setLog: f("void llama_log_set(log_callback *, void *)"),
    init: f("void llama_backend_init()"),
    modelDefaults: f("llama_model_params llama_model_default_params()"),
    contextDefaults: f("llama_context_params llama_context_default_params()"),
    loadModel: f("void *llama_model_load_from_file(const char *, llama_model_params)"),
    newContext: f("void *llama_init_from_model(void *, llama_context_params)"),
    vocabOf: f("void *llama_model_get_vocab(void *)"),
    vocabSize: f("int llama_vocab_n_tokens(void *)"),
    width: f("int llama_model_n_embd_out(void *)"),
    blocks: f("int llama_model_n_layer(void *)"),
    batchOf: f("llama_batch llama_batch_get_one(void *, int32_t)"),
    decode: f("int llama_decode(void *, llama_batch)"),
    encode: f("int llama_encode(void *, llama_batch)"),
    logitsAt: f("void *llama_get_logits_ith(void *, int32_t)"),
    embeddingsAt: f("void *llama_get_embeddings_ith(void *, int32_t)"),
  };
}

/** Fields of llama.h v0.5.0, "type name" each; p is a pointer. */
const MODEL_PARAMS = `p devices, p tensor_buft_overrides, int32_t n_gpu_layers, int32_t split_mode, int32_t load_mode,
  int32_t lazy_mode, int32_t main_gpu, p tensor_split, p progress_callback, p progress_callback_user_data, p kv_overrides,
  bool vocab_only, bool check_tensors, bool use_extra_bufts, bool no_host, bool no_alloc, bool load_mtp`;
const CONTEXT_PARAMS = `uint32_t n_ctx, uint32_t n_batch, uint32_t n_ubatch, uint32_t n_seq_max, uint32_t n_rs_seq,
  uint32_t n_outputs_max, uint32_t n_outputs_max_per_seq, int32_t n_threads, int32_t n_threads_batch, int32_t ctx_type,
  int32_t rope_scaling_type, int32_t pooling_type, int32_t attention_type, int32_t flash_attn_type, float rope_freq_base,
  float rope_freq_scale, float yarn_ext_factor, float yarn_attn_factor, float yarn_beta_fast, float yarn_beta_slow,
  uint32_t yarn_orig_ctx, float defrag_thold, p cb_eval, p cb_eval_user_data, int32_t type_k, int32_t type_v,
  p abort_callback, p abort_callback_data, bool embeddings, bool offload_kqv, bool no_perf, bool op_offload, bool swa_full,
  bool kv_unified, p samplers, size_t n_samplers, p ctx_other`;
const BATCH = "int32_t n_tokens, p token, p embd, p pos, p n_seq_id, p seq_id, p logits";

function fields(list) {
  return Object.fromEntries(
    list.split(",").map((field) => {
      const [type, name] = field.trim().split(" ");
      return [name, type === "p" ? "void *" : type];
    }),
  );
}

/** A second guard of the struct layout: the defaults of v0.5.0, read back through the structs. */
function checkDefaults(model, context) {
  const expected = [
    [model, { n_gpu_layers: -1, split_mode: 1, check_tensors: false, use_extra_bufts: true, load_mtp: false }],
    [
      context,
      { n_ctx: 512, n_batch: 2048, n_ubatch: 512, n_seq_max: 1, yarn_ext_factor: -1, type_k: 1, swa_full: true },
    ],
  ];
  for (const [found, values] of expected) {
    for (const [name, value] of Object.entries(values)) {
      if (found[name] !== value) throw new Stop(3, `struct layout: ${name} reads ${found[name]}, expected ${value}`);
    }
  }
}

function run(file, ids, out, wanted) {
  const { koffi, libraries } = loadPackages();
  const api = bind(koffi, libraries);
  // Errors only; level 5 continues the line before it.
  let last = 0;
  const log = (level, text) => {
    if (level !== 5) last = level;
    if (last === 4) process.stderr.write(text);
  };
  api.setLog(koffi.register(log, koffi.pointer(api.Log)), null);
  api.loadBackends(libraries);
  api.init();
  const modelParams = api.modelDefaults();
  const contextParams = api.contextDefaults();
  checkDefaults(modelParams, contextParams);
  const model = api.loadModel(file, Object.assign(modelParams, { n_gpu_layers: 0, check_tensors: true }));
  if (!model) throw new Stop(1, `llama.cpp cannot load ${file}`);
  const embeddings = wanted === "embeddings";
  // Tokens go in one by one where the model is causal; an encoder sees all of them at once.
  const batch = embeddings ? ids.length : 1;
  // Room for 64 in any case: with room for one token llama.cpp v0.5.0 cannot plan RWKV-7's graph.
  const room = Math.max(64, batch);
  Object.assign(contextParams, {
    n_ctx: Math.max(64, ids.length),
    n_batch: room,
    n_ubatch: room,
    n_threads: 1,
    n_threads_batch: 1,
    flash_attn_type: 0,
    type_k: 0,
    type_v: 0,
    swa_full: true,
    no_perf: true,
    embeddings,
    pooling_type: embeddings ? 0 : -1,
  });
  const context = api.newContext(model, contextParams);
  if (!context) throw new Stop(1, "llama.cpp cannot create a context");
  const vocabulary = api.vocabSize(api.vocabOf(model));
  const width = embeddings ? api.width(model) : vocabulary;
  const bad = ids.find((id) => id >= vocabulary);
  if (bad !== undefined) throw new Stop(1, `token ${bad} is outside of the vocabulary of ${vocabulary}`);
  // The batch keeps a pointer to its tokens, so they live in native memory.
  const tokens = koffi.alloc("int32_t", batch);
  const rows = [];
  for (let at = 0; at < ids.length; at += batch) {
    koffi.encode(tokens, koffi.array("int32_t", batch), ids.slice(at, at + batch));
    const status = (embeddings ? api.encode : api.decode)(context, api.batchOf(tokens, batch));
    if (status !== 0) throw new Stop(1, `llama.cpp stopped at token ${at} with ${status}`);
    for (let row = 0; row < batch; row++) {
      const values = embeddings ? api.embeddingsAt(context, row) : api.logitsAt(context, row);
      rows.push(Buffer.from(Float32Array.from(koffi.decode(values, "float", width)).buffer));
    }
  }
  fs.writeFileSync(out, Buffer.concat(rows));
  return { blocks: api.blocks(model), width, tokens: ids.length };
}

let status = 0;
try {
  const [model, idsFile, out, wanted = "logits"] = process.argv.slice(2);
  if (out === undefined) throw new Stop(2, "usage: node logits.mjs MODEL.gguf IDS.json OUT.f32 [logits|embeddings]");
  fs.writeSync(1, `${JSON.stringify(run(model, JSON.parse(fs.readFileSync(idsFile, "utf8")), out, wanted))}\n`);
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  fs.writeSync(2, `logits: ${error.message}\n`);
  status = error.status;
}
// Leave at once: no library code runs during teardown.
process.exit(status);
