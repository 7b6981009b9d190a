"""How the study runs: parameters, stages, manifests, checkpoints."""
