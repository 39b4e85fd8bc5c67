"""Run folders and their configs. With launch and cli, the rooms that know Hydra and OmegaConf."""
