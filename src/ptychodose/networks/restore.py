"""A trained network from its bundle, with a digest to hold it to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ptychodose.errors import StudyError
from ptychodose.formats import bundle


def restore(path: Path, sha256: str, build: Callable[[Mapping[str, Any]], nn.Module]) -> tuple[nn.Module, dict]:
    """The network of the bundle at `path`, ready to predict, and the bundle's description.

    `build` makes it from the bundle's architecture. Raises StudyError for a bundle of another digest, of an unknown
    architecture, or with weights that do not fit.
    """
    meta, weights = bundle.load(path, sha256)
    net = build(meta.get("architecture", {}))
    try:
        net.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise StudyError(f"{path}: weights do not fit the network ({' '.join(str(error).split())[:100]})") from None
    return net.eval(), meta
