#!/usr/bin/env python3
"""A step of training against PyTorch, on SmolLM2-135M's shape with 6 copies: time, memory, sessions. Never part of the tests.

    python train_step.py [WORK] [--layout host] [--no-checkpointing] [--pairs 5] [--threads 2]

Both do the same: forward, backward to the copies, clipping, AdamW; batch 1, 256 tokens, f32. Steps are taken in turns; medians of the pairs'
ratios are printed. PyTorch keeps all activations; we keep blocks' inputs, unless told otherwise. Needs torch and transformers.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONTEXT = 256
SHAPE = dict(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
    rope_theta=100000.0,
)


def prepared(work):
    source, expanded = work / "source", work / "expanded"
    if not source.exists():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**SHAPE)
        transformers.LlamaForCausalLM(config).float().save_pretrained(source)
    if not expanded.exists():
        words = ["--every", "5", "--mask", "torch", "--no-progress", "--verify", "none"]
        subprocess.run(["node", ROOT / "bin" / "expand-checkpoint.js", "expand", source, expanded, *words], check=True, capture_output=True)
    return expanded


class Torch:
    def __init__(self, expanded):
        begun = time.perf_counter()
        self.model = transformers.AutoModelForCausalLM.from_pretrained(expanded, dtype=torch.float32)
        copies = re.compile(re.search(r're\.compile\(r"(.*)"\)', (expanded / "mask-torch.py").read_text())[1])
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(copies.match(name) is not None)
        self.trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trainable, 1e-4, (0.9, 0.95), 1e-8, 0.1)
        self.ids = (torch.arange(CONTEXT) * 7919 % 40000).unsqueeze(0)
        self.labels = ((torch.arange(CONTEXT) + 1) * 7919 % 40000).unsqueeze(0)
        self.open = time.perf_counter() - begun

    def loss(self):
        logits = self.model(input_ids=self.ids).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.labels.flatten())

    def step(self):
        begun = time.perf_counter()
        loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trainable, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - begun, loss.item()

    def forward(self):
        begun = time.perf_counter()
        with torch.no_grad():
            self.loss()
        return time.perf_counter() - begun


class Ours:
    def __init__(self, expanded, layout, threads, checkpointing):
        words = ["npx", "tsx", HERE / "train_step.ts", expanded, 1, CONTEXT, layout, threads, checkpointing]
        self.process = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = json.loads(self.process.stdout.readline())

    def ask(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def median_ratio(pairs):
    return statistics.median(ours / theirs for ours, theirs in pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", nargs="?", type=Path, default=Path(tempfile.gettempdir()) / "train-step")
    parser.add_argument("--layout", default="host")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    expanded = prepared(arguments.work)
    theirs = Torch(expanded)
    ours = Ours(expanded, arguments.layout, arguments.threads, "on" if arguments.checkpointing else "off")
    theirs.step(), ours.ask("step"), theirs.forward(), ours.ask("loss")
    steps, forwards = [], []
    for _ in range(arguments.pairs):
        taken = ours.ask("step")
        seconds, loss = theirs.step()
        steps.append((taken["seconds"], seconds))
        forwards.append((ours.ask("loss")["seconds"], theirs.forward()))
    drift = abs(taken["loss"] - loss) / loss
    torch_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trainable = sum(parameter.numel() for parameter in theirs.trainable)
    print(f"SmolLM2-135M's shape, 36 blocks, {trainable / 1e6:.1f}M trainable, {CONTEXT} tokens, layout {arguments.layout}, checkpointing {'on' if arguments.checkpointing else 'off'}, {arguments.threads} threads")
    print(f"step      {statistics.median(o for o, _ in steps):.2f} s against {statistics.median(t for _, t in steps):.2f} s: {median_ratio(steps):.2f}x PyTorch {torch.__version__}")
    print(f"forward   {statistics.median(o for o, _ in forwards):.2f} s against {statistics.median(t for _, t in forwards):.2f} s: {median_ratio(forwards):.2f}x")
    print(f"opening   {ours.opened['open']:.2f} s against {theirs.open:.2f} s")
    print(f"peak      {taken['peak']:.0f} MB against {torch_peak:.0f} MB (file pages included)")
    print(f"the runtime's f32 product of 1024 x 1024: {ours.opened['gemm'] / 1e9:.0f} GFLOP/s; losses after {arguments.pairs + 1} steps differ by {drift:.1e}")
    ours.close()


if __name__ == "__main__":
    main()
