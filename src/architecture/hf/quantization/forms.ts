// How quantized checkpoints store the weight of one linear, and which bytes make it exactly 0. Data only; never decides what is zeroed.
import type { Dtype } from "../../../tensor/dtype.ts";

/**
 * One way to store a weight. Keys of `tensors` are names with {w} for the plain weight's name ("...o_proj.weight") and {m} for its
 * module ("...o_proj"); a trailing "?" marks one that may be absent. Values are the types it may have.
 */
export interface Form {
  readonly tensors: Readonly<Record<string, readonly Dtype[]>>;
  /** The tensor that closes the weight, and the byte that fills it. */
  readonly zero: string;
  readonly byte: number;
  /** Why the weight is then exactly 0. */
  readonly why: string;
}

const FLOAT: readonly Dtype[] = ["F16", "BF16", "F32"];
const F8: readonly Dtype[] = ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"];
const SCALE: readonly Dtype[] = [...FLOAT, ...F8, "F8_E8M0", "U8"];
const INT: readonly Dtype[] = ["I32", "I64"];
const BYTES: readonly Dtype[] = ["U8", "I8"];
const META: readonly Dtype[] = [...BYTES, ...INT, ...FLOAT, "BOOL"];

/** Scales of activations and of the key-value cache: no factor of the weight. */
const ACTIVATION: Form["tensors"] = {
  "{m}.input_scale?": SCALE,
  "{m}.input_scale_ub?": SCALE,
  "{m}.activation_scale?": SCALE,
  "{m}.input_zero_point?": META,
  "{m}.input_global_scale?": SCALE,
  "{m}.output_scale?": SCALE,
  "{m}.output_zero_point?": META,
};

/** transformers 5.23 quantizers/quantizer_finegrained_fp8.py: `weight_scale_inv`, and `.scale` or `.qscale_weight` renamed to it. */
const FLOAT8: Form = {
  tensors: {
    "{w}": F8,
    "{w}_scale?": SCALE,
    "{w}_scale_inv?": SCALE,
    "{w}_zero_point?": META,
    "{m}.scale?": SCALE,
    "{m}.qscale_weight?": SCALE,
    "{m}.qscale_act?": SCALE,
    ...ACTIVATION,
  },
  zero: "{w}",
  byte: 0x00,
  why: "0x00 is +0 in every 8-bit float type, times a finite scale",
};

/** AutoGPTQ and AutoAWQ: w = (q - z) * s with integer q and z; GPTQ v1 files store z - 1, so the zero point stays as it is. */
const GROUPED: Form = {
  tensors: {
    "{m}.qweight": ["I32"],
    "{m}.scales": FLOAT,
    "{m}.qzeros?": ["I32"],
    "{m}.g_idx?": INT,
  },
  zero: "{m}.scales",
  byte: 0x00,
  why: "w = (q - z) * s with s = 0",
};

const bitsandbytes4 = (kind: "nf4" | "fp4", byte: number, why: string): Form => ({
  tensors: {
    "{w}": [...BYTES, ...FLOAT],
    "{w}.absmax": ["U8", "F32"],
    "{w}.quant_map": FLOAT,
    "{w}.nested_absmax?": FLOAT,
    "{w}.nested_quant_map?": FLOAT,
    [`{w}.quant_state.bitsandbytes__${kind}`]: ["U8"],
  },
  zero: "{w}",
  byte,
  why,
});

const PACKED_INT: Form = {
  tensors: {
    "{w}_packed": ["I32"],
    "{w}_scale": FLOAT,
    "{w}_zero_point?": META,
    "{w}_shape?": INT,
    "{w}_g_idx?": INT,
    ...ACTIVATION,
  },
  zero: "{w}_scale",
  byte: 0x00,
  why: "w = (q - z) * s with s = 0",
};

const PACKED_FLOAT: Form = {
  tensors: {
    "{w}_packed": ["U8"],
    "{w}_scale": ["F8_E4M3", "F8_E8M0", "U8"],
    "{w}_global_scale?": FLOAT,
    "{w}_shape?": INT,
    ...ACTIVATION,
  },
  zero: "{w}_packed",
  byte: 0x00,
  why: "code 0 is +0 in the 4-bit and 6-bit float types",
};

const INT8: Form = {
  tensors: { "{w}": ["I8"], "{w}_scale": FLOAT, "{w}_zero_point?": META, "{w}_g_idx?": INT, ...ACTIVATION },
  zero: "{w}_scale",
  byte: 0x00,
  why: "w = (q - z) * s with s = 0",
};

const MODELOPT_FP4: Form = {
  tensors: {
    "{w}": ["U8"],
    "{w}_scale": ["F8_E4M3"],
    "{w}_scale_2": FLOAT,
    "{m}.pre_quant_scale?": FLOAT,
    ...ACTIVATION,
  },
  zero: "{w}",
  byte: 0x00,
  why: "both 4-bit codes 0 are +0",
};

/** A weight kept in its own type next to scales that only concern activations (compressed-tensors), or unpacked (BitNet). */
const FLOAT_WITH_SCALES: Form = {
  tensors: { "{w}": FLOAT, "{w}_scale?": FLOAT, ...ACTIVATION },
  zero: "{w}",
  byte: 0x00,
  why: "0x00 is +0",
};

/** By quant_method, in the order they are tried. A method that is not here is refused. */
export const FORMS: Readonly<Record<string, readonly Form[]>> = {
  gptq: [GROUPED],
  awq: [GROUPED],
  "auto-round": [GROUPED],
  bitsandbytes: [
    bitsandbytes4("nf4", 0x77, "code 7 of NF4 is 0.0; absmax stays, since a nested one has an offset"),
    bitsandbytes4("fp4", 0x00, "code 0 of FP4 is 0.0; absmax stays, since a nested one has an offset"),
    {
      tensors: { "{w}": ["I8"], "{m}.SCB": FLOAT, "{m}.weight_format?": META },
      zero: "{w}",
      byte: 0x00,
      why: "w = q * SCB / 127 with q = 0",
    },
  ],
  fp8: [FLOAT8],
  mxfp8: [FLOAT8],
  fbgemm_fp8: [FLOAT8],
  modelopt: [FLOAT8, MODELOPT_FP4],
  "compressed-tensors": [FLOAT8, INT8, PACKED_FLOAT, PACKED_INT, FLOAT_WITH_SCALES],
  mxfp4: [
    {
      tensors: { "{w}_blocks": ["U8"], "{w}_scales": ["U8", "F8_E8M0"] },
      zero: "{w}_blocks",
      byte: 0x00,
      why: "both 4-bit codes 0 are +0, and ldexp(0, e) = 0",
    },
  ],
  hqq: [
    {
      tensors: {
        "{m}.W_q": META,
        "{m}.scale": FLOAT,
        "{m}.zero?": FLOAT,
        ...Object.fromEntries(
          [
            ...["axis", "channel_wise", "compute_dtype", "encoded_state_dict", "group_size", "nbits", "offload_meta"],
            ...["optimize", "packing", "quant_scale", "quant_zero", "round_zero", "shape", "stores_quant_config"],
            ...["unpack_view_dtype", "view_as_float"],
          ].map((name) => [`{m}.${name}?`, META]),
        ),
      },
      zero: "{m}.scale",
      byte: 0x00,
      why: "w = (q - z) * s with s = 0",
    },
  ],
  eetq: [
    {
      tensors: { "{w}": ["I8"], "{w}_scales": FLOAT },
      zero: "{w}_scales",
      byte: 0x00,
      why: "w = q * s with s = 0; the weight is permuted for the kernel and stays",
    },
  ],
  bitnet: [
    {
      tensors: { "{w}": ["U8"], "{w}_scale": FLOAT },
      zero: "{w}",
      byte: 0x55,
      why: "four 2-bit codes 1, and each stands for code - 1",
    },
    FLOAT_WITH_SCALES,
  ],
};

/** Endings of tensors that belong to a block and to no linear: scales of the quantized key-value cache. */
export const CACHE_SCALES = /\.(?:[kqv]|kv|prob)_(?:scale|zero_point|global_scale)$/;

/** Methods whose bytes this package cannot set to an exact 0, and the way out for each. */
export const REFUSED: Readonly<Record<string, string>> = {
  aqlm: "codebooks",
  vptq: "codebooks and permutations",
  spqr: "a sparse outlier matrix",
  higgs: "a rotated lattice",
  fp_quant: "a rotated 4-bit form",
  quark: "per-module schemes of its own",
  torchao: "serialized tensor subclasses",
  quanto: "serialized tensor subclasses",
  "auto-round": "a packing other than auto_gptq",
  sinq: "two-sided scales",
  metal: "affine 4-bit groups for one runtime",
  fouroversix: "adaptive 4-bit scales",
  gemma: "a mixed scheme of its own",
  nvfp4: "a form that transformers itself does not load back",
  gguf: "ggml blocks",
};
