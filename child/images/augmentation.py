"""What becomes of stored images before a network sees them: whitening, a random crop, a flip."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from child.data.images import ImageShape
from child.data.whitening import Whitening
from child.resident import resident


class AugmentationSettings(BaseModel):
    """How the images that are trained on vary. The defaults are those of Zoph & Le 2017, s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    crop: Literal["upsample", "pad", "none"] = Field(
        "upsample",
        description="What a random crop of the size of an image is taken from: the image upsampled "
        "(bilinear), or with zeros, its mean once whitened, around it.",
    )
    margin: int = Field(
        4,
        ge=1,
        le=4096,
        description="Pixels by which that is larger on each side. Open in the paper; with 4, 32x32 "
        "pixels become 40x40, as DenseNet's code pads them.",
    )
    flip: bool = Field(True, description="Every other image, at random, has left and right change.")


class Augmentation:
    """Turns batches of stored images into what a network sees, on the device that holds them.

    Images that are validated or tested on are upsampled as those in training are, so that a network
    meets things in the size that it knows, and cropped at the centre; nothing is random. (Open in
    the paper.) Where crops come from padded images the centre is the image itself.

    B images of C channels, H by W pixels. All results are new tensors.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        whitening: Whitening,
        shape: ImageShape,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._shape = shape
        self._device = device
        self._margin = 0 if settings.crop == "none" else settings.margin
        # (x - mean) * scale in one pass: x * scale + offset.
        self._scale = torch.tensor(whitening.scale, device=device)
        self._offset = -torch.tensor(whitening.mean, device=device) * self._scale
        self._matrix = None if whitening.matrix is None else resident(whitening.matrix, device)

    def draw(self, num_images: int) -> Tensor:
        """Draw how images will vary, from torch's global generator of the CPU.

        It is drawn there on every device, so that a GPU shows a child the same images as a CPU.

        Returns:
            (N, 3) int64 on the device: the first row and the first column of the crop, each in
            [0, 2 * margin], and 1 where the image is flipped, else 0.
        """
        corners = torch.randint(0, 2 * self._margin + 1, (num_images, 2))
        flips = torch.randint(0, 1 + self._settings.flip, (num_images, 1))
        return torch.cat([corners, flips], dim=1).to(self._device)

    def training(self, images: Tensor, draws: Tensor) -> Tensor:
        """Give images to train on: whitened, enlarged, cropped, flipped.

        Args:
            images: (B, C, H, W) uint8.
            draws: (B, 3), rows of what `draw` gave.

        Returns:
            (B, C, H, W) float32.
        """
        whitened = self._whitened(images)
        if not self._margin and not self._settings.flip:
            return whitened
        return self._cropped(self._enlarged(whitened), draws)

    def evaluation(self, images: Tensor) -> Tensor:
        """Give images to validate or test on, (B, C, H, W) uint8, as (B, C, H, W) float32."""
        whitened = self._whitened(images)
        if self._settings.crop != "upsample":
            return whitened
        _, height, width = self._shape
        return (
            self._enlarged(whitened).narrow(2, self._margin, height).narrow(3, self._margin, width)
        )

    def _whitened(self, images: Tensor) -> Tensor:
        whitened = torch.addcmul(self._offset, images.float(), self._scale)
        if self._matrix is None:
            return whitened
        return (whitened.flatten(1) @ self._matrix).view_as(whitened)

    def _enlarged(self, images: Tensor) -> Tensor:
        margin = self._margin
        if self._settings.crop == "upsample":
            size = (self._shape.height + 2 * margin, self._shape.width + 2 * margin)
            return functional.interpolate(images, size, mode="bilinear", align_corners=False)
        return functional.pad(images, (margin,) * 4) if margin else images

    def _cropped(self, images: Tensor, draws: Tensor) -> Tensor:
        """Crop and flip all images in one gather of their flattened pixels."""
        channels, height, width = self._shape
        tops, lefts, flips = draws.split(1, dim=1)  # (B, 1) each
        pixels = torch.arange(width, device=self._device)
        rows = tops + torch.arange(height, device=self._device)  # (B, H)
        columns = lefts + torch.where(flips == 1, width - 1 - pixels, pixels)  # (B, W)
        places = rows[:, :, None] * images.shape[3] + columns[:, None, :]  # (B, H, W)
        places = places.flatten(1)[:, None].expand(-1, channels, -1)
        return images.flatten(2).gather(2, places).view(-1, channels, height, width)
