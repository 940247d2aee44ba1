"""A convolutional architecture as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from child.convolutional.architecture import ConvolutionalArchitecture


class ConvolutionalNetwork(nn.Module):
    """Convolution, batch norm and ReLU per layer; global average pooling; one linear layer.

    Source: Zoph & Le 2017, s4.1. The order of batch norm and ReLU and the pooling are not in the
    paper; global pooling is what fits the parameter count of its Figure 7.
    """

    def __init__(
        self, architecture: ConvolutionalArchitecture, num_channels: int, num_classes: int
    ) -> None:
        """Build the network for images of num_channels channels, with weights drawn at random."""
        super().__init__()
        layers: list[nn.Module] = []
        for layer in architecture.layers:
            kernel = (layer.filter_height, layer.filter_width)
            # Batch norm subtracts any bias again.
            layers += [
                nn.Conv2d(num_channels, layer.num_filters, kernel, padding="same", bias=False),
                nn.BatchNorm2d(layer.num_filters),
                nn.ReLU(inplace=True),
            ]
            num_channels = layer.num_filters
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(num_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits, (N, num_classes), for images (N, channels, height, width)."""
        features: Tensor = self.layers(images)
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits
