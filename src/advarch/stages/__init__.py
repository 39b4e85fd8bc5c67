"""What a run does, one stage a file: a run folder in, artefacts out."""
