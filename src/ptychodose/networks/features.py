"""What a correction network sees: waves in units of the local noise, illumination and noise on a log scale.

Everything is made in the order (..., H, W, F), which convolutions read fastest on a CPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ptychodose.physics import portable


def scale_planes(lit: Tensor, sd: Tensor) -> Tensor:
    """The two planes (..., H, W, 2) that stay the same from step to step: `lit` in [0, 1] and `sd`, both (..., H, W),
    as logarithms."""
    return torch.stack([portable.log10(lit + 1e-3) + 1.5, portable.log10(sd) + 1.5], -1)


def noise_planes(waves: Sequence[tuple[Tensor, bool]], sd: Tensor, *others: Tensor) -> Tensor:
    """Features (..., 2 k + F, H, W) of k complex waves (..., H, W), each over `sd` (..., H, W) and, where its flag
    says so, squashed by asinh (a wave far from its reference must not drown the rest), and of `others`
    (..., H, W, any), F in all."""
    twice = torch.stack([sd, sd], -1)
    planes = [(torch.view_as_real(wave) / twice, squash) for wave, squash in waves]
    squashed = [portable.asinh(plane) if squash else plane for plane, squash in planes]
    return torch.cat([*squashed, *others], -1).movedim(-1, -3)
