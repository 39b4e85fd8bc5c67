"""The command line: one Hydra app and the verbs around it."""
