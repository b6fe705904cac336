"""The worst case measured: Rademacher complexity of families of LoRA classes, by search. Needs torch."""
