"""What a correction network sees: waves in units of the local noise, illumination and noise on a log scale."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ptychodose.physics import portable


def noise_planes(waves: Sequence[tuple[Tensor, bool]], lit: Tensor, sd: Tensor) -> Tensor:
    """Features (..., 2 k + 2, H, W) of k complex waves (..., H, W), each over `sd` (..., H, W) and, where its flag
    says so, squashed by asinh (a wave far from its reference must not drown the rest); `lit` (..., H, W) in [0, 1]."""
    planes = []
    for wave, squash in waves:
        for plane in (wave.real / sd, wave.imag / sd):
            planes.append(torch.asinh(plane) if squash else plane)
    return torch.stack([*planes, portable.log10(lit + 1e-3) + 1.5, portable.log10(sd) + 1.5], -3)
