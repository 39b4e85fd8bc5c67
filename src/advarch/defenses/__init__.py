"""Defenses: plain functions defense(model, x, y, *, attack, ...) -> LossOutput."""
