"""GPT-2's layers as linear ones.

transformers writes the linear layers of GPT-2 and its kin as ``Conv1D``, which keeps the transpose of the matrix that
``nn.Linear`` keeps:

    Conv1D: y = x V + b,  V (d_in, d_out)        nn.Linear: y = x W' + b,  W = V' (d_out, d_in).

PEFT puts the same factors A (r, d_in) and B (d_out, r) on either, so that adapters trained here load there.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


def with_linear_layers(module: nn.Module) -> nn.Module:
    """The module itself, every ``Conv1D`` in it replaced by an ``nn.Linear`` of the same name and the same outputs.

    Outputs differ by the order of the sums alone. Weights are copied one layer at a time, in the order ``nn.Linear``
    reads them.
    """
    for name, layer in list(module.named_modules()):
        if isinstance(layer, Conv1D):
            with torch.device("meta"):
                linear = nn.Linear(layer.nx, layer.nf)
            trained = layer.weight.requires_grad
            linear.weight = nn.Parameter(layer.weight.detach().t().contiguous(), requires_grad=trained)
            linear.bias = layer.bias
            module.set_submodule(name, linear.train(layer.training))
    return module
