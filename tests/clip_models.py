"""Small CLIP models with random weights, saved as transformers saves them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast


def save_clip(folder: Path, image: int = 16, patch: int = 8, layers: int = 3) -> Path:
    """Two towers of a few layers, a byte-level tokenizer, an image processor."""
    torch.manual_seed(0)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.train_from_iterator(
        ["a photo of a thing."],
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )  # fmt: skip
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=40
    )
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": layers, "num_attention_heads": 4}
    text = {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config=tower | text, vision_config=tower | {"image_size": image, "patch_size": patch}, projection_dim=24
    )
    model = CLIPModel(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "position" not in name:
            torch.nn.init.normal_(weight, std=0.2)  # far from the tiny start: outputs depend on everything
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": image}, crop_size={"height": image, "width": image}, image_mean=[0.4, 0.5, 0.6],
        image_std=[0.3, 0.2, 0.25],
    )  # fmt: skip
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return folder
