"""From sweeps to jobs to engines. No torch: a login node lists and submits jobs."""
