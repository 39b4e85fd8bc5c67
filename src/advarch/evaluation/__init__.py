"""Attacking a finished network: plain loops, per-image outcomes."""
