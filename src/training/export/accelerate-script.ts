// The Python script of an export for accelerate, as text. It reads train.json beside it; nothing of a user's is written into it.
export const SCRIPT = `"""Trains the copies of an expanded checkpoint and nothing else. Settings: train.json. Start it with train.sh."""
import json
import math
import random
import re
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

HERE = Path(__file__).resolve().parent
JOB = json.loads((HERE / "train.json").read_text())
IGNORED = -100


def texts(corpus):
    """The documents of one file, again and again; None after each pass."""
    while True:
        if corpus["path"].endswith(".parquet"):
            import pyarrow.parquet

            for rows in pyarrow.parquet.ParquetFile(corpus["path"]).iter_batches(columns=[corpus["field"]]):
                yield from rows.column(0).to_pylist()
        else:
            with open(corpus["path"], encoding="utf-8") as lines:
                for line in lines:
                    if line.strip():
                        yield json.loads(line)[corpus["field"]]
        yield None


def documents():
    """In an order by the seed: each is one of some that are waiting, so that files in an order of their own are mixed."""
    chance = random.Random(JOB["seed"])
    waiting = []
    for text in mixed():
        waiting.append(text)
        if len(waiting) > 256:
            yield waiting.pop(chance.randrange(len(waiting)))
    chance.shuffle(waiting)
    yield from waiting


def mixed():
    """All files by their shares; ends when every file was read so often as epochs says, or never."""
    chance = random.Random(JOB["seed"])
    corpora = JOB["corpora"]
    streams = [texts(corpus) for corpus in corpora]
    left = [JOB.get("epochs", math.inf)] * len(corpora)
    while any(count > 0 for count in left):
        at = chance.choices(range(len(corpora)), [corpus["share"] for corpus in corpora])[0]
        text = next(streams[at])
        if text is None:
            left[at] -= 1
        elif left[at] > 0 or "epochs" not in JOB:
            yield text


def windows(tokenizer):
    """Sequences of the context's length, documents one after another; no token has to tell the start of the next document."""
    ids, labels = [], []
    for text in documents():
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.bos_token_id is not None and getattr(tokenizer, "add_bos_token", False):
            tokens = [tokenizer.bos_token_id, *tokens]
        if tokenizer.eos_token_id is not None:
            tokens = [*tokens, tokenizer.eos_token_id]
        ids += tokens
        labels += [IGNORED, *tokens[1:]]
        while len(ids) >= JOB["context"]:
            yield ids[: JOB["context"]], labels[: JOB["context"]]
            ids, labels = ids[JOB["context"] :], labels[JOB["context"] :]


def batches(tokenizer, process, processes):
    """This process' batches: every process reads all windows and takes its own."""
    mine = []
    for number, window in enumerate(windows(tokenizer)):
        if number % processes == process:
            mine.append(window)
        if (number + 1) % (processes * JOB["batch"]) == 0:
            yield {name: torch.tensor(column) for name, column in zip(("input_ids", "labels"), zip(*mine))}
            mine = []


def count_steps(tokenizer, processes):
    if "steps" in JOB:
        return JOB["steps"]
    total = sum(1 for _ in windows(tokenizer))
    return max(1, total // (processes * JOB["batch"] * JOB["accumulate"]))


def main():
    accelerator = Accelerator(gradient_accumulation_steps=JOB["accumulate"], mixed_precision=JOB["precision"])
    set_seed(JOB["seed"])
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
    model = AutoModelForCausalLM.from_pretrained(JOB["model"], dtype="auto")
    stored = model.dtype
    if JOB["precision"] == "no":
        model.float()

    copies = re.compile(JOB["copies"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(copies.match(name) is not None)
        # AdamW's updates are too small for 16 bits.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trainable, "no parameter belongs to a copy"

    steps = count_steps(tokenizer, accelerator.num_processes)
    optimizer = torch.optim.AdamW(trainable, JOB["rate"], tuple(JOB["betas"]), JOB["epsilon"], JOB["decay"])
    # The prepared scheduler moves once for every process.
    moves = accelerator.num_processes
    scheduler = get_scheduler(JOB["scheduler"], optimizer, round(JOB["warmup"] * steps) * moves, steps * moves)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    model.train()

    source = batches(tokenizer, accelerator.process_index, accelerator.num_processes)
    for step in range(steps):
        losses = []
        for _ in range(JOB["accumulate"]):
            batch = next(source, None)
            assert batch is not None, "the corpora are too short for one step"
            with accelerator.accumulate(model):
                with accelerator.autocast():
                    loss = model(**{name: values.to(accelerator.device) for name, values in batch.items()}).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients and JOB["clip"] > 0:
                    accelerator.clip_grad_norm_(trainable, JOB["clip"])
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            losses.append(loss.detach())
        mean = accelerator.reduce(torch.stack(losses).mean(), "mean").item()
        if not math.isfinite(mean):
            raise SystemExit(f"step {step + 1}: the loss is {mean}")
        if step < 10 or (step + 1) % 10 == 0 or step + 1 == steps:
            accelerator.print(f"step {step + 1}/{steps} loss {mean:.4f} lr {scheduler.get_last_lr()[0]:.3g}", flush=True)

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).to(stored).save_pretrained(HERE / "out")
        tokenizer.save_pretrained(HERE / "out")
    accelerator.end_training()


if __name__ == "__main__":
    main()
`;
