#!/usr/bin/env python3
"""Gradients of the causal cross-entropy with respect to every weight: PyTorch's autograd against our graphs, by tensor name.

    python torch_gradients.py WORK [variant ...]

Makes tiny models of transformers (the variants of decoder_logits.py), and exports of some of them to ONNX (onnx_exports.py); takes loss and
gradients in f32; has torch_gradients.ts take them with our training graphs and compare. Prints "ok"/"not ok" lines. Needs torch,
transformers, safetensors; for the exports onnx, onnxscript and onnxruntime-genai.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

import decoder_logits

HERE = Path(__file__).resolve().parent
BATCH, LENGTH = 2, 24
IGNORED = -100
# One of every family at least, and every kind of norm, position, projection and mixture.
VARIANTS = [
    "llama",
    "llama-bias",
    "llama-yarn",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "olmo-clip",
    "olmo2",
    "granite",
    "cohere-qknorm",
    "cohere2",
    "glm4",
    "exaone4",
    "gpt2",
    "gptj",
    "gpt_neox",
    "phi",
    "stablelm-parallel",
    "falcon",
    "falcon-alibi",
    "falcon-new",
    "bloom",
    "mpt",
    "opt-project",
    "starcoder2",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "granitemoe",
    "olmoe",
    "gpt_oss",
]
# Exporter and model, as onnx_exports.py calls them; none with tied embeddings, which are two initializers there; GQA, rotary embedding and skip norms of com.microsoft in the last.
EXPORTS = ["torchscript-qwen2", "dynamo-llama", "genai-llama-fp32"]


def batch_for(vocabulary):
    """Token ids, and the next token of each; the first row holds two documents, the second one and some padding."""
    ids = torch.randint(3, vocabulary, (BATCH, LENGTH))
    labels = torch.cat([ids[:, 1:], torch.full((BATCH, 1), IGNORED)], dim=1)
    labels[0, 9] = IGNORED
    labels[1, 18:] = IGNORED
    return ids, labels


def backward(model, ids, labels):
    """The mean loss; gradients stay with the parameters."""
    model.zero_grad(set_to_none=True)
    logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=IGNORED
    )
    loss.backward()
    return loss.item()


def write_reference(folder, ids, labels, loss):
    reference = {"ids": ids.tolist(), "labels": labels.tolist(), "loss": loss}
    (folder / "reference.json").write_text(json.dumps(reference))


def gradient_of(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def write_checkpoint(folder, name):
    """The model, and its gradients as a checkpoint of the same names: transformers renames and restacks both alike."""
    model = decoder_logits.make(*decoder_logits.VARIANTS[name][:2])
    ids, labels = batch_for(model.config.vocab_size)
    loss = backward(model, ids, labels)
    model.save_pretrained(folder)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    made = {}
    for key, value in model.state_dict().items():
        if key in parameters:
            # Tied parameters have one gradient, and transformers leaves out one of two tensors that share memory.
            made.setdefault(id(parameters[key]), gradient_of(parameters[key]))
            value = made[id(parameters[key])]
        made[key] = value
    model.save_pretrained(folder / "gradients", state_dict={key: made[key] for key in model.state_dict()})
    write_reference(folder, ids, labels, loss)


def write_export(folder, name):
    """An exported model, and the gradients under the names of the initializers that hold the parameters, as they lie there."""
    import onnx
    import onnx_exports

    make, model_name, *options = onnx_exports.EXPORTS[name]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        make(model_name, folder, *options)
    model = onnx_exports.model_of(model_name)
    for each in (folder, folder / "gradients"):
        model.config.save_pretrained(each)
    ids, labels = batch_for(model.config.vocab_size)
    loss = backward(model, ids, labels)
    gradients = {}
    for tensor in onnx.load(folder / "model.onnx").graph.initializer:
        value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        found = gradient_in(model, value) if value.is_floating_point() and value.numel() > 1 else None
        if found is not None:
            gradients[tensor.name] = found
    save_file(gradients, folder / "gradients" / "model.safetensors")
    write_reference(folder, ids, labels, loss)


def gradient_in(model, value):
    """The gradient of what an initializer holds: a parameter as it is or turned, or the projections to queries, keys and values in one."""
    held = [(parameter, gradient_of(parameter)) for parameter in model.parameters()]
    for module in model.modules():
        if hasattr(module, "q_proj"):
            parts = [each.weight for each in (module.q_proj, module.k_proj, module.v_proj)]
            held.append((torch.cat(parts), torch.cat([gradient_of(part) for part in parts])))
    for weight, gradient in held:
        if weight.shape == value.shape and torch.equal(weight, value):
            return gradient.contiguous()
        if weight.dim() == 2 and weight.T.shape == value.shape and torch.equal(weight.T, value):
            return gradient.T.contiguous()
    return None


def main():
    work, *wanted = sys.argv[1:]
    work = Path(work)
    folders = []
    for name in wanted or [*VARIANTS, *EXPORTS]:
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        torch.manual_seed(zlib.crc32(name.encode()))
        try:
            (write_checkpoint if name in decoder_logits.VARIANTS else write_export)(folder, name)
            folders.append(str(folder))
        except Exception as error:  # one broken variant must not hide the others
            print(f"not ok {name}: {type(error).__name__}: {error}".replace("\n", " | "), flush=True)
    script = str(HERE / "torch_gradients.ts")
    sys.exit(subprocess.run(["npx", "tsx", script, *folders]).returncode)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
