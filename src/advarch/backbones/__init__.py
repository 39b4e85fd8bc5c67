"""Whole networks: images in [0, 1] -> logits."""
