"""Attacks: plain functions attack(model, x, y, *, threat, ..., generator) -> x_adv."""
