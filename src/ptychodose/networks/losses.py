"""How good an answer is: against photons it has not seen, or against a truth that the simulator knows."""

from dataclasses import replace

import torch
from torch import Tensor

from ptychodose.physics import forward
from ptychodose.physics.forward import Patterns


def likelihood_loss(canvas: Tensor, judged: Patterns) -> Tensor:
    """Mean Poisson loss per good detector pixel of object canvases (B, H, W) against the photons of `judged`.

    Around its canvas a group knows nothing: the flat object stands there for neighbours that reach beyond.
    """
    size, extent = judged.probes.shape[-1], torch.tensor(canvas.shape[-2:], device=canvas.device)
    before = int((-judged.corners).amax().clamp_min(0))
    after = int((judged.corners + size - extent).amax().clamp_min(0))
    level = judged.level.to(canvas.dtype)
    wide = torch.nn.functional.pad(canvas - level, (before, after, before, after)) + level
    height, width = wide.shape[-2:]
    return forward.losses(wide, replace(judged, corners=judged.corners + before, shape=(height, width))).mean()


def relative_error(canvas: Tensor, truth: Tensor, lit: Tensor) -> Tensor:
    """Squared error of canvases (..., H, W) over truth's energy, weighted by `lit` (..., H, W), after the best global
    phase of each: (...,)."""
    product = (canvas.conj() * truth * lit).sum((-2, -1), keepdim=True)
    aligned = canvas * (product / (product.abs() + 1e-12)).detach()
    return (forward.measure(aligned - truth) * lit).sum((-2, -1)) / (forward.measure(truth) * lit).sum((-2, -1))


def truth_loss(canvas: Tensor, truth: Tensor, lit: Tensor) -> Tensor:
    """Mean log NRMSE of canvases (B, H, W): relative errors count alike at every dose (see `relative_error`)."""
    return 0.5 * torch.log(relative_error(canvas, truth, lit)).mean()
