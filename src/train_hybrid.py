"""Train the hybrid arm's bundle: `make hybrid`. Not a stage of `dvc repro`: its result is committed in data/hybrid/.

Ends by measuring what was learned on object families and probes that training never drew.
"""

import csv
from dataclasses import asdict
from pathlib import Path

import torch

from ptychodose.formats import bundle
from ptychodose.formats.atomic import atomic_folder, write_json
from ptychodose.physics import noise, portable
from ptychodose.refine import hybrid_bundle, hybrid_training, spread_training, transfer
from ptychodose.scans import base
from ptychodose.study import checkpoint, params
from ptychodose.study.checkpoint import Checkpoint
from ptychodose.study.manifest import environment
from ptychodose.study.stage import ROOT, run

CHECKPOINT_SECONDS = 60


def main() -> None:
    """params.yaml -> data/hybrid/{wts.h5.zip, training_manifest.json, history.csv, transfer.json}."""
    study = params.load()
    portable.deterministic(True)
    torch.set_num_threads(1)
    settings, out = study.train_hybrid, Path(study.train_hybrid.bundle)
    code = checkpoint.loaded_code(ROOT / "src")
    parameters = {"hybrid": asdict(settings), "map": asdict(study.reconstruct_map), "environment": environment()}
    kept = Checkpoint("train_hybrid", checkpoint.key([], code, parameters), CHECKPOINT_SECONDS)
    refiner, history, examples = hybrid_training.train(settings, study.reconstruct_map, checkpoint=kept)
    refiner.eval()
    net = hybrid_bundle.Hybrid(refiner, spread_training.train(refiner, examples, settings, print)).eval()
    plate = base.load(study.generate, noise.stream(0, "object")).probe[0]
    with atomic_folder(out.parent) as folder:
        meta = {"architecture": net.spec, "training": asdict(settings), "start": asdict(study.reconstruct_map)}
        weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        sha256, size = bundle.save(folder / out.name, {**meta, "software": environment()}, weights)
        with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
        result = {"bundle_path": out.as_posix(), "bundle_sha256": sha256, "bundle_size_bytes": size}
        job = {"arm": "hybrid", "status": "success", **meta, "result": result}
        write_json(folder / hybrid_bundle.MANIFEST, {"jobs": [job], "skipped": []})
        write_json(folder / "unseen.json", transfer.compare(net, study.reconstruct_map, plate))
    kept.clear()
    print(f"bundle: {out} ({size} bytes)\nSHA256: {sha256}\nnext: git add {out.parent} && dvc repro compare")


if __name__ == "__main__":
    run("train_hybrid", main)
