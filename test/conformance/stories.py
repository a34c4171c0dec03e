"""A model with real weights, stories260K: expanded from 5 to 7 blocks it tells the same story, word for word."""

import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

import expansions
from comparing import difference, load, outputs_of

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "stories260K" / "hf"
TOKENS = 200
OPENING = "Once upon a time, there was a little girl named"


def cases(work):
    if not SOURCE.is_dir():
        print(f"# stories260K is not at {SOURCE}: real weights are left out")
        return
    job = expansions.Job("stories", "stories260K", {"add": 2}, work, SOURCE)
    result = expansions.run([job], work / "jobs")[job.id]
    titles = (
        "stories260K expanded from 5 to 7 blocks gives the same logits",
        f"stories260K expanded from 5 to 7 blocks tells the same story, {TOKENS} tokens",
    )
    why = expansions.refusal(result)
    if why is None and len(result["blocks"]) != 7:
        why = f"it has {len(result['blocks'])} blocks"
    if why is not None:
        yield from ((title, why) for title in titles)
        return
    before, _ = load(SOURCE)
    after, complaints = load(job.output)
    told, again = tell(before, SOURCE), tell(after, job.output)
    given = {"input_ids": told["ids"]}
    unlike = difference(outputs_of(before, given), outputs_of(after, given))
    yield titles[0], f"loading says {complaints}" if complaints else unlike
    print(f"# {again['text'][:150]!r} ...")
    if told["ids"].shape[1] < TOKENS:
        yield titles[1], f"the source tells {told['ids'].shape[1]} tokens only"
    else:
        yield titles[1], (
            None
            if torch.equal(told["ids"], again["ids"]) and told["text"] == again["text"]
            else again["text"]
        )
    shutil.rmtree(job.output, ignore_errors=True)


@torch.no_grad()
def tell(model, directory):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    ids = torch.tensor([tokenizer(OPENING)["input_ids"]])
    out = model.generate(ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    return {"ids": out, "text": tokenizer.decode(out[0])}
