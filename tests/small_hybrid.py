"""A hybrid of a few random weights, and its bundle: what tests need that do not ask how good the committed one is."""

import json

import torch

from ptychodose.formats import bundle
from ptychodose.refine import hybrid_bundle

SPEC = {"name": "hybrid", "steps": 2, "gradients": 2, "width": 4, "hidden": 1, "spread_width": 3}


def build(zeroed=False, seed=0):
    """Networks whose first corrections are as large as those of trained ones, or none at all."""
    torch.manual_seed(seed)
    net = hybrid_bundle.build(SPEC)
    with torch.no_grad():
        for layer in (net.refiner.correct.leave, net.spread.net.leave):
            layer.weight.mul_(0 if zeroed else 10)
            layer.bias.mul_(0 if zeroed else 10)
    return net.eval()


def save(folder, spec=SPEC, **changes):
    """A bundle and its training manifest, which `changes` may spoil; the bundle's path."""
    weights = {name: tensor.numpy() for name, tensor in build().state_dict().items()}
    sha256, size = bundle.save(folder / "wts.h5.zip", {"architecture": spec}, weights)
    result = {"bundle_path": "data/hybrid/wts.h5.zip", "bundle_sha256": sha256, "bundle_size_bytes": size, **changes}
    document = {"jobs": [{"arm": "hybrid", "result": result}], "skipped": []}
    (folder / hybrid_bundle.MANIFEST).write_text(json.dumps(document))
    return folder / "wts.h5.zip"
