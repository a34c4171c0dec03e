# Writes tiny random decoders as ONNX, each by an exporter of other people: `onnx_exports.py OUT [EXPORTER...]`. One folder for each; prints
# "made NAME" or "unmade NAME: why" for each, and never fails for one.
import contextlib
import io
import os
import sys
import traceback
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402

BLOCKS = 3
# No other size is 96: the builder takes the projection that makes `vocab_size` values for the head.
COMMON = dict(
    vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=BLOCKS, num_attention_heads=2, max_position_embeddings=64
)
SIZES = dict(COMMON, num_key_value_heads=1, head_dim=16, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GPT2 = dict(
    vocab_size=96, n_embd=32, n_inner=64, n_layer=BLOCKS, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
)
PEGASUS = dict(
    vocab_size=96,
    d_model=32,
    encoder_layers=2,
    decoder_layers=BLOCKS,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    max_position_embeddings=64,
)
T5 = dict(vocab_size=96, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_decoder_layers=BLOCKS, num_heads=2)
WIDE = dict(SIZES, hidden_size=64, head_dim=32, intermediate_size=128)
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "qwen2": lambda: transformers.Qwen2Config(**{k: v for k, v in SIZES.items() if k != "head_dim"}),
    "gemma": lambda: transformers.GemmaConfig(**SIZES),
    "gpt2": lambda: transformers.GPT2Config(**GPT2),
    "pegasus": lambda: transformers.PegasusConfig(**PEGASUS),
    "t5": lambda: transformers.T5Config(**T5),
    "bert": lambda: transformers.BertConfig(**COMMON),
    # The builder's int4 blocks hold 32 weights, and its GroupQueryAttention wants heads of a multiple of 16.
    "llama-wide": lambda: transformers.LlamaConfig(**WIDE),
}


def model_of(name):
    torch.manual_seed(0)
    config = CONFIGS[name]()
    config._attn_implementation = "eager"
    kinds = {"bert": transformers.AutoModel, "pegasus": transformers.AutoModelForSeq2SeqLM}
    kind = {**kinds, "t5": kinds["pegasus"]}.get(name, transformers.AutoModelForCausalLM)
    model = kind.from_config(config).eval()
    # Fresh norms are all ones and biases all zeros: give every tensor values of its own.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


class Logits(torch.nn.Module):
    """The model as a function of ids and mask alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        if isinstance(self.model, transformers.BertPreTrainedModel):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def torch_onnx(name, out, dynamo):
    model = Logits(model_of(name))
    ids = torch.arange(14).reshape(2, 7)
    args = (ids, torch.ones_like(ids))
    names = ["input_ids", "attention_mask"]
    result = ["last_hidden_state" if name == "bert" else "logits"]
    if dynamo:
        batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=64)
        shapes = {each: {0: batch, 1: sequence} for each in names}
        torch.onnx.export(
            model, args, out / "model.onnx", input_names=names, output_names=result, dynamic_shapes=shapes, dynamo=True
        )
    else:
        axes = {each: {0: "batch", 1: "sequence"} for each in [*names, *result]}
        torch.onnx.export(
            model,
            args,
            out / "model.onnx",
            input_names=names,
            output_names=result,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def optimum(name, out, task, **options):
    from optimum.exporters.onnx import onnx_export_from_model

    onnx_export_from_model(model_of(name), output=out, task=task, opset=18, do_validation=False, **options)


def merged(name, out):
    """The model twice, in the branches of an `If`. This release exports one model for both, so both branches are that one."""
    from optimum.onnx import merge_decoders

    optimum(name, out, "text-generation-with-past")
    single = (out / "model.onnx").rename(out / "single.onnx")
    merge_decoders(single, single, save_path=out / "model.onnx")
    single.unlink()


def crossed(name, out):
    """The decoder of an encoder-decoder, with and without a past in the branches of an `If`."""
    optimum(name, out, "text2text-generation-with-past")
    for single in ("decoder_model", "decoder_with_past_model"):
        (out / f"{single}.onnx").unlink()
    (out / "decoder_model_merged.onnx").rename(out / "model.onnx")


def save_model(name, folder):
    """A checkpoint with a tokenizer, as the builder wants it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    model_of(name).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(96)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w2", bos_token="w1")
    fast.save_pretrained(folder)


def genai(name, out, precision):
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    source = out.parent / f"{out.name}.source"
    save_model(name, source)
    arguments = ("", str(source), str(out), precision, "cpu", str(out.parent / "cache"))
    create_model(*arguments, **parse_extra_options(*arguments, []))


EXPORTS = {
    **{f"torchscript-{name}": (torch_onnx, name, False) for name in ("llama", "gpt2", "qwen2", "gemma", "bert")},
    **{f"dynamo-{name}": (torch_onnx, name, True) for name in ("llama", "gpt2", "qwen2", "gemma", "bert")},
    **{f"optimum-{name}": (optimum, name, "text-generation-with-past") for name in ("llama", "gpt2", "qwen2", "gemma")},
    **{f"optimum-merged-{name}": (merged, name) for name in ("llama", "gpt2")},
    **{f"optimum-crossed-{name}": (crossed, name) for name in ("pegasus", "t5")},
    "optimum-bert": (optimum, "bert", "feature-extraction"),
    "genai-llama-fp32": (genai, "llama-wide", "fp32"),
    "genai-llama-int4": (genai, "llama-wide", "int4"),
    "genai-qwen2-fp32": (genai, "qwen2", "fp32"),
}


def main():
    out = Path(sys.argv[1])
    wanted = tuple(sys.argv[2:])
    for name in [each for each in EXPORTS if each.startswith(wanted or "")]:
        make, *args = EXPORTS[name]
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                make(args[0], folder, *args[1:])
            print(f"made {name}", flush=True)
        except Exception as error:  # an exporter that does not get along with a model is not our failure
            if os.environ.get("VERBOSE"):
                traceback.print_exc()
            print(f"unmade {name}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}", flush=True)


if __name__ == "__main__":
    main()
