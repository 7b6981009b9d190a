"""The hybrid arm's network: a converged physics solution, then a few learned proximal-gradient steps.

Each step takes exact Poisson gradients of all patterns and a correction by a U-Net shared by the steps (learned
proximal gradient: Adler & Oktem, IEEE TMI 37, 1322 (2018)). Everything the network sees or changes is in units of
the local noise sd, so that one network serves every dose, probe and scan.
"""

import torch
from torch import Tensor, nn

from ptychodose.iterative.problem import Problem
from ptychodose.networks.features import noise_planes, scale_planes
from ptychodose.physics.forward import LIT
from ptychodose.refine.unet import UNet

STEP = 0.5  # of the preconditioned likelihood gradient: stable without a prior
SYMMETRIES = 8  # of the square: the correction is averaged over flips and quarter turns at inference


class Refiner(nn.Module):
    """T steps of k preconditioned likelihood gradients and one learned correction, from a converged start."""

    def __init__(self, steps: int, gradients: int, width: int, hidden: int) -> None:
        super().__init__()
        self.spec = {"name": "refiner", "steps": steps, "gradients": gradients, "width": width, "hidden": hidden}
        self.steps, self.gradients, self.hidden = steps, gradients, hidden
        self.correct = UNet(10 + hidden, 2 + hidden, width)
        self.stride = nn.Parameter(torch.full((steps,), -1.5))  # sigmoid -> share of the stable gradient step
        self.gain = nn.Parameter(torch.zeros(steps))  # log of the correction's size

    def forward(self, problem: Problem, start: Tensor, symmetry: int | None = None) -> list[Tensor]:
        """Canvases (H, W) complex64 after every step, from `start` (H, W). The correction acts in the orientation
        `symmetry` (0 to 7), or is averaged over all eight (None)."""
        lit, sd = problem.lit / problem.lit.max(), noise_sd(problem)
        obj, outputs, scales = start, [], scale_planes(lit, sd)
        hidden = [lit.new_zeros(1, self.hidden, *_turned(lit, g).shape) for g in range(SYMMETRIES)]
        chosen = range(SYMMETRIES) if symmetry is None else [symmetry]
        for t in range(self.steps):
            moved, slope = obj, torch.zeros_like(obj)
            for _ in range(self.gradients):
                slope = problem.gradient(moved.detach()) / problem.floored  # data: no graph
                moved = moved - 2 * STEP * torch.sigmoid(self.stride[t]) * slope
            waves = [(start - problem.level, True), (moved - start, False), (moved - obj, False), (slope, False)]
            features = noise_planes(waves, sd, scales)
            correction = torch.zeros_like(obj)
            for g in chosen:
                answer = self.correct(torch.cat([_turned(features, g)[None], hidden[g]], 1))
                hidden[g] = torch.tanh(answer[:, 2:])
                correction = correction + _returned(torch.complex(answer[0, 0], answer[0, 1]), g) / len(chosen)
            obj = moved + torch.exp(self.gain[t]) * sd * correction
            outputs.append(obj)
        return outputs


def noise_sd(problem: Problem) -> Tensor:
    """Noise sd of the object (H, W): 0.5 / sqrt(incident photons per pixel that tell), finite where no light falls."""
    return 0.5 * torch.rsqrt((problem.lit + LIT * problem.lit.max()) * problem.efficiency)


def _turned(image: Tensor, g: int) -> Tensor:
    """Symmetry g (0 to 7) of the square on the last two axes."""
    image = torch.rot90(image, g % 4, (-2, -1))
    return image.flip(-1) if g >= 4 else image


def _returned(image: Tensor, g: int) -> Tensor:
    """Inverse of `_turned`."""
    image = image.flip(-1) if g >= 4 else image
    return torch.rot90(image, -(g % 4), (-2, -1))
