"""What a model says before and after: greedy completions of test prompts, without an adapter and with one.

    python recipes/smollm_samples.py smollm-out --count 8

Takes the adapter of the verdict, loads it with PEFT as anyone would, and lets transformers generate.
"""

import argparse

import transformers
from peft import PeftModel

from lorabound import open_sweep
from lorabound.models import locate_model
from lorabound.sweeps.material import read_material

transformers.logging.set_verbosity_error()
parser = argparse.ArgumentParser()
parser.add_argument("sweep")
parser.add_argument("--count", type=int, default=8)
asked = parser.parse_args()

sweep = open_sweep(asked.sweep)
best = sweep.summary().verdicts[0].best
run = next(row for row in sweep.rows() if (row.mode, row.rank, row.n_train) == (best.mode, best.rank, best.n_train))
folder = locate_model(sweep.config.model)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
bare = transformers.AutoModelForCausalLM.from_pretrained(folder)
tests = read_material(sweep.config).divided.test_examples[: asked.count]


def complete(model, dialogue):
    """The first answer of a dialogue, as the model writes it."""
    turns = [{"role": turn.role, "content": turn.content} for turn in dialogue.turns[: dialogue.trained[0]]]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**prompt, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip()


before = [complete(bare, one) for one in tests]
name = f"{run.mode}-r{run.rank}-n{run.n_train}-seed{run.seed}"
adapted = PeftModel.from_pretrained(bare, f"{asked.sweep}/adapters/{name}").eval()
print(f"\n{asked.sweep}/adapters/{name}, test prompts in the order of the split")
for one, without in zip(tests, before, strict=True):
    print(f"\n  {one.turns[one.trained[0] - 1].content}")
    print(f"    right:    {one.turns[one.trained[0]].content}")
    print(f"    without:  {' '.join(without.split())[:90]}")
    print(f"    with:     {' '.join(complete(adapted, one).split())[:90]}")
