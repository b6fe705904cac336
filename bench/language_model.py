"""Six adapters of a language model in one stack against a plain PEFT loop: the same rows, starts, order and recipe.

    python bench/language_model.py [--workloads short-top6 short-all long-top6] [--rounds 3]

SmolLM2-135M-Instruct in float32, rank 8 on all linear layers, one epoch, batches of 8: 200 pairs of a word and its
translation (Debian's dictionary), or 100 pairs whose answer is twenty words. Whole processes in alternation; loading
the model is not counted, storing what the frozen layers compute is. The loop pads each batch to its longest row and
computes all scores, as transformers does with ``labels``. It trains two of the six adapters, one after the other, and
their mean losses on the rows afterwards stand beside ours.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__)
WORKLOADS = {"short-top6": ("short", "top6"), "short-all": ("short", None), "long-top6": ("long", "top6")}
SEEDS, BATCH, LR = list(range(6)), 8, 1e-3


def dialogues(kind):
    """The rows of a workload."""
    from lorabound.data import Dialogue, Turn
    from lorabound.data.dictionary import dictionary

    pairs = dictionary().examples
    random = np.random.default_rng(0)
    pairs = [pairs[i] for i in random.permutation(len(pairs))]
    if kind == "short":
        return pairs[:200]
    words = [pair.turns[1].content for pair in pairs]
    answers = [" ".join(random.choice(words, 20)) for _ in range(100)]
    return [
        Dialogue((Turn("user", f"Say twenty words about {words[i]}."), Turn("assistant", answer)), True)
        for i, answer in enumerate(answers)
    ]


def loaded(kind, layers):
    """Model, rows and the six untrained adapters."""
    from lorabound.adapters import new_adapter
    from lorabound.models.causal import load_causal
    from lorabound.stack import select_linears

    model = load_causal("smollm2-135m-instruct", [], "", 256, "cpu")
    shapes = select_linears(model.module, ["all-linear"], layers)
    adapters = [new_adapter(shapes, 8, "train_both", seed, "kaiming_uniform", 2.0) for seed in SEEDS]
    return model, model.prepare(dialogues(kind)), adapters


def ours(kind, layers):
    """Six adapters at once: seconds per adapter, and the mean loss of each on the rows."""
    from lorabound.engine import Examples, Pool, Recipe, keep_freed_memory, train

    keep_freed_memory()
    model, rows, adapters = loaded(kind, layers)
    examples = Examples(rows, np.zeros(len(rows), dtype=np.int64))
    none = examples.head(1)
    start = time.perf_counter()
    half = [SEEDS[:3], SEEDS[3:]] if torch.get_num_threads() > 1 else [SEEDS]
    with Pool(model, list(adapters[0].layers), [rows], len(half), memory=4.0) as pool:
        allotment = pool.fit(adapters[0])

        def one(worker, seeds):
            mine = [adapters[seed] for seed in seeds]
            return train(
                worker, examples, none, mine, seeds, Recipe(1, BATCH, LR), tokens_per_pass=allotment.tokens_per_pass
            )

        done = dict(pair for seeds, found in pool.run(half, one) for pair in zip(seeds, found, strict=True))
    # Our training ends with a measurement of all rows; it is counted here, and not in the loop.
    seconds = (time.perf_counter() - start) / len(SEEDS)
    peak = pool.resources(allotment)["peak_gib"]
    return {"seconds": seconds, "losses": [done[s].train.cross_entropy for s in SEEDS], "peak_gib": peak}


def peft(kind, layers):
    """Two adapters, one after the other: seconds per adapter, and their mean losses on the rows."""
    import transformers
    from peft import PeftModel

    from lorabound.adapters import save_adapter
    from lorabound.engine.batches import epoch_batches
    from lorabound.models import locate_model

    model, packed, adapters = loaded(kind, layers)
    rows = [model._reader._row(model._reader._pieces(one), chat=one.chat) for one in dialogues(kind)]
    folder = locate_model("smollm2-135m-instruct")
    times, losses = [], []
    for seed in SEEDS[:2]:
        with tempfile.TemporaryDirectory() as place:
            where = save_adapter(adapters[seed], Path(place) / "start", str(folder), type(model.module))
            base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            adapted = PeftModel.from_pretrained(base, where, is_trainable=True)
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
        start = time.perf_counter()
        for batch in epoch_batches(packed.lengths, BATCH, [seed], 0):
            optimizer.zero_grad()
            adapted(**padded([rows[i] for i in batch[0]])).loss.backward()
            optimizer.step()
        times.append(time.perf_counter() - start)
        with torch.no_grad():
            losses.append(float(np.mean([adapted(**padded([row])).loss.item() for row in rows])))
    return {"seconds": statistics.mean(times), "losses": losses}


def padded(rows):
    """A batch as a collator makes it."""
    width = max(len(row.ids) for row in rows)
    ids, labels = torch.full((len(rows), width), 2), torch.full((len(rows), width), -100)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for k, row in enumerate(rows):
        n = len(row.ids)
        ids[k, :n], mask[k, :n] = torch.tensor(row.ids), 1
        labels[k, :n] = torch.where(torch.tensor(row.learnt), torch.tensor(row.ids), -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def main():
    """Alternate the two sides, print one line per workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "peft"], help="run one side in this process, print JSON")
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps({"ours": ours, "peft": peft}[asked.side](*WORKLOADS[asked.workloads[0]])))
        return
    print("| workload | PEFT loop, s | stack of six, s per adapter | ratio | largest difference of losses | peak GiB |")
    print("|---|---|---|---|---|---|")
    for name in asked.workloads:
        rounds = []
        for _ in range(asked.rounds):
            command = [sys.executable, str(HERE), "--workloads", name, "--side"]
            runs = {}
            for side in ("peft", "ours"):
                done = subprocess.run([*command, side], check=True, capture_output=True)
                runs[side] = json.loads(done.stdout.splitlines()[-1])
            rounds.append(runs)
        ratio = statistics.median(r["peft"]["seconds"] / r["ours"]["seconds"] for r in rounds)
        seconds = [statistics.median(r[side]["seconds"] for r in rounds) for side in ("peft", "ours")]
        apart = max(abs(a - b) for r in rounds for a, b in zip(r["peft"]["losses"], r["ours"]["losses"], strict=False))
        peak = max(r["ours"]["peak_gib"] for r in rounds)
        print(f"| {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {ratio:.1f} | {apart:.4f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
