"""The U-Net of the learned steps and of the error bars."""

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Three scales, `width` channels at the finest: features (B, F, H, W) -> (B, outputs, H, W)."""

    def __init__(self, features: int, outputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 3, padding=1) for i in (0, 1))
        self.bottom = nn.Conv2d(width * 4, width * 4, 3, padding=1)
        self.up = nn.ModuleList(
            nn.Conv2d(width * 2 ** (i + 1) + width * 2**i, width * 2**i, 3, padding=1) for i in (1, 0)
        )
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, outputs, 3, padding=1)
        with torch.no_grad():  # start from the physics iteration, which already works
            self.leave.weight.mul_(0.1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, outputs, H, W); sides are padded to multiples of 4 by reflection."""
        height, width = features.shape[-2:]
        x = nn.functional.pad(features, (0, -width % 4, 0, -height % 4), mode="reflect")
        x = nn.functional.gelu(self.enter(x.contiguous(memory_format=torch.channels_last)))
        kept = []
        for layer in self.down:
            kept.append(x)
            x = nn.functional.gelu(layer(nn.functional.avg_pool2d(x, 2)))
        x = x + nn.functional.gelu(self.bottom(x))
        for layer, skip in zip(self.up, reversed(kept), strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = nn.functional.gelu(layer(torch.cat([x, skip], 1)))
        x = x + nn.functional.gelu(self.smooth(x))
        return self.leave(x)[..., :height, :width]
