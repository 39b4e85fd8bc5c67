"""advarch: a Hydra-driven launcher for experiments on adversarially robust neural architectures."""

__version__ = "0.1.0"
