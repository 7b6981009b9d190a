"""The networks: a group of patterns in, an object canvas out. Group size C is in the data, never in the network.

`Unrolled` alternates exact gradient steps of the Poisson likelihood with a small convolutional correction
(learned proximal gradient: Adler & Oktem, IEEE TMI 37, 1322 (2018)); `OneShot` corrects a single back-projection,
like the networks of the literature (PtychoNN, PtychoPINN).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ptychodose.errors import StudyError
from ptychodose.networks.features import noise_planes, scale_planes
from ptychodose.physics import forward
from ptychodose.physics.forward import LIT, Patterns


class Correction(nn.Module):
    """Residual CNN on three scales of as many channels: features (B, F, H, W) -> (B, outputs, H, W), receptive field
    32 px."""

    def __init__(self, features: int, outputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features, width, 3, padding=1)
        self.coarse = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(4))  # two per halved scale
        self.leave = nn.Conv2d(width, outputs, 3, padding=1)
        with torch.no_grad():  # start close to the plain gradient iteration, which already works
            self.leave.weight.mul_(0.1)
        # 1.2 to 1.8 times faster on a CPU than the default order
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor) -> Tensor:
        """Down to a quarter of the pixels a side and up again; each scale adds to what the finer one found."""
        scales = [torch.relu(self.enter(features.contiguous(memory_format=torch.channels_last)))]
        for first, second in zip(self.coarse[::2], self.coarse[1::2], strict=True):
            x = torch.relu(first(nn.functional.avg_pool2d(scales[-1], 2, ceil_mode=True)))
            scales.append(x + torch.relu(second(x)))
        x = scales.pop()
        while scales:
            finer = scales.pop()
            x = finer + nn.functional.interpolate(x, scale_factor=2.0)[..., : finer.shape[2], : finer.shape[3]]
        return self.leave(x)


class Unrolled(nn.Module):
    """T steps of k preconditioned likelihood gradients and one learned correction, shared over the steps.

    What enters and leaves the CNN is measured in units of the local noise, sd = 0.5 / sqrt(photons per pixel) of
    the amplitude, so one set of weights sees the same statistics at every dose and probe.
    """

    def __init__(self, steps: int, gradients: int, width: int, hidden: int) -> None:
        super().__init__()
        self.spec = {"name": "unrolled", "steps": steps, "gradients": gradients, "width": width, "hidden": hidden}
        self.steps, self.gradients, self.hidden = steps, gradients, hidden
        self.correct = Correction(6 + hidden, 2 + hidden, width)
        self.stride = nn.Parameter(torch.zeros(steps))  # sigmoid -> gradient step in (0, 1); 0.5 converges
        self.momentum = nn.Parameter(torch.zeros(steps))  # tanh -> weight of the last move
        self.gain = nn.Parameter(torch.zeros(steps))  # log of the correction's size

    def forward(self, batch: Patterns) -> list[Tensor]:
        """Object canvases (B, H, W) complex64 after every step, the last one being the answer."""
        lit, precondition, sd = _scales(batch)
        scales, factor = scale_planes(lit, sd), precondition.to(torch.complex64)  # a real factor is slower
        obj = batch.level + torch.zeros_like(factor)
        last, hidden = obj, lit.new_zeros(*lit.shape, self.hidden)
        outputs = []
        for t in range(self.steps):
            start = obj + torch.tanh(self.momentum[t]) * (obj - last)
            stride, last = torch.sigmoid(self.stride[t]), obj
            total, gradient = _descend(start, batch, factor, stride, self.gradients)
            moved = start - stride * total
            features = noise_planes([(moved - batch.level, True), (gradient, False)], sd, scales, hidden)
            answer = self.correct(features).movedim(1, -1)  # (B, h, w, 2 + hidden)
            hidden = torch.tanh(answer[..., 2:])
            obj = moved + torch.exp(self.gain[t]) * sd * torch.view_as_complex(answer[..., :2].contiguous())
            outputs.append(_framed(obj, batch))
        return outputs


class OneShot(nn.Module):
    """One back-projection of the modulus-corrected flat exit waves, one CNN. The literature's row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spec = {"name": "cnn", "width": width}
        self.correct = Correction(6, 2, width)

    def forward(self, batch: Patterns) -> list[Tensor]:
        """Object canvases (B, H, W) complex64, as a list of one."""
        lit, precondition, sd = _scales(batch)
        flat = batch.level + torch.zeros_like(precondition)
        gradient, _ = _descend(flat.to(torch.complex64), batch, precondition, precondition.new_zeros(()), 1)
        answer = self.correct(noise_planes([(-gradient, True), (gradient, False)], sd, scale_planes(lit, sd)))
        return [_framed(flat - gradient + batch.level * torch.complex(answer[:, 0], answer[:, 1]), batch)]


def _scales(batch: Patterns) -> tuple[Tensor, Tensor, Tensor]:
    """Relative illumination in [0, 1], gradient preconditioner, noise sd of the object; each (B, h, w), of the lit part
    of the canvases. All that a network computes is of this part: around it the object stays flat."""
    whole = forward.illumination(batch.corners, batch.probes, batch.shape)
    brightest, photons = whole.amax((1, 2), keepdim=True), whole[:, *batch.lit]
    # floor: the sd of an unlit pixel stays finite
    detected = (photons + 0.05 * brightest) * batch.level**2 * batch.efficiency
    return photons / brightest, 1 / (photons + LIT * brightest), batch.level * 0.5 * torch.rsqrt(detected)


@torch.no_grad()
def _descend(
    start: Tensor, batch: Patterns, precondition: Tensor, stride: Tensor, number: int
) -> tuple[Tensor, Tensor]:
    """The sum of `number` preconditioned likelihood gradients along `start - stride * sum`, and the last of them, all
    (B, h, w). They are data: no graph through the FFTs, which would triple the training time."""
    canvas, total, gradient = batch.flat(), torch.zeros_like(start), start
    for _ in range(number):
        canvas[:, *batch.lit] = start - stride * total
        gradient = precondition * forward.gradient(canvas, batch)[:, *batch.lit]
        total += gradient
    return total, gradient


def _framed(inner: Tensor, batch: Patterns) -> Tensor:
    """Canvases (B, H, W) of their lit part (B, h, w), the flat object around it."""
    return nn.functional.pad(inner - batch.level, [batch.rim] * 4) + batch.level


ARCHITECTURES = {"unrolled": Unrolled, "cnn": OneShot}


def build(spec: Mapping[str, Any]) -> nn.Module:
    """The network of a JSON-able `spec` {name, **arguments}; StudyError for an unknown one."""
    arguments = dict(spec)
    name = arguments.pop("name", None)
    try:
        return ARCHITECTURES[name](**arguments)
    except (KeyError, TypeError, ValueError):
        raise StudyError(f"bundle: unknown network {spec}; this version knows {', '.join(ARCHITECTURES)}") from None
