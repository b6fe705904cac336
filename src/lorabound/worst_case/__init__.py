"""The worst case the theorems speak of: ``simulated`` (Theorem 2) needs no torch, ``measured`` does (Rademacher)."""
