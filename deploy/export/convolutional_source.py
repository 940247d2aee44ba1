"""A convolutional architecture as the text of a torch module, line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Pooling
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import LayerPlan, NetworkPlan, same_padding
from child.data.images import ImageShape
from deploy.export.parts import average_pool, contrast_norm, read_safetensors
from deploy.export.preparation import Preparation
from deploy.export.source import INDENT, WIDTH, ModelSource, listed, load_method

IMAGE = "images"


def convolutional_source(
    plan: NetworkPlan, settings: NetworkSettings, preparation: Preparation
) -> ModelSource:
    """Give the module that `child.convolutional.network.ConvolutionalNetwork` is for a plan.

    Its parameters are in the same order as there, after the buffers of the preparation.
    """
    text = _Text(plan, settings, preparation)
    return ModelSource("Network", (text.whole(),), (*text.parts, read_safetensors))


class _Text:
    """Writes one network. Maps are named x1, x2, … after the layers that put them out."""

    def __init__(
        self, plan: NetworkPlan, settings: NetworkSettings, preparation: Preparation
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._preparation = preparation
        self._init = preparation.init_lines()
        self._forward: list[str] = []
        # As they are pooled by now, of the image and of all layers so far.
        self._shapes = [preparation.shape]
        self._shown = preparation.shape
        self.parts: list[Callable[..., Any]] = []

    def whole(self) -> str:
        """Give the class."""
        for number, layer in enumerate(self._plan.layers, start=1):
            self._layer(number, layer)
        self._end()
        init = "".join(f"{INDENT}{line}\n" for line in self._init)
        forward = "".join(f"{line}\n" for line in self._forward)
        channels, height, width = self._preparation.shape
        classes = self._plan.num_classes
        return (
            "class Network(nn.Module):\n"
            f'    """{len(self._plan.layers)} layers and a classifier; x3 is what layer 3 puts '
            'out."""\n\n'
            "    def __init__(self) -> None:\n"
            f"{INDENT}super().__init__()\n"
            f"{init}\n"
            f"    def forward(self, {IMAGE}: Tensor) -> Tensor:\n"
            f'{INDENT}"""Give the logits (N, {classes}) of prepared images (N, {channels}, '
            f'{height}, {width})."""\n'
            f"{forward}\n"
            f"{self._preparation.method()}\n"
            f"{load_method('Network')}"
        ).rstrip()

    def _layer(self, number: int, layer: LayerPlan) -> None:
        # A batch norm has weights of its own, and pooling none: what is made, and how it is called.
        match layer.operation:
            case Convolution() as operation:
                call = self._convolution(number, layer.in_shape, operation)
            case Pooling() as operation:
                call = self._pooling(layer.in_shape, operation)
            case BatchNorm():
                call = f"{self._norm(f'norm{number}', layer.in_shape.channels)}({{}})"
            case ContrastNorm():
                self._needs(contrast_norm)
                call = "contrast_norm({})"
        self._state(f"x{number} = {call}", layer.inputs, layer.in_shape, layer.out_shape)
        self._shapes.append(layer.out_shape)
        if number in self._plan.pooled_after:
            self._pool(number)

    def _convolution(self, number: int, shape: ImageShape, operation: Convolution) -> str:
        window = (operation.filter_height, operation.filter_width)
        strides = (operation.stride_height, operation.stride_width)
        rows, columns = (
            same_padding(*each) for each in zip(shape[1:], window, strides, strict=True)
        )
        is_even = rows[0] == rows[1] and columns[0] == columns[1]
        arguments = [str(shape.channels), str(operation.num_filters), _pair(window)]
        if strides != (1, 1):
            arguments.append(f"stride={_pair(strides)}")
        if is_even and (rows[0] or columns[0]):
            arguments.append(f"padding={_pair((rows[0], columns[0]))}")
        made = f"self.conv{number} = nn.Conv2d({', '.join(arguments)}, bias=False)"
        padded = "{}" if is_even else f"F.pad({{}}, {(*columns, *rows)})"
        norm = f"norm{number}"
        match self._settings.order:
            case "convolution-norm-relu":
                self._init.append(made)
                normed = self._norm(norm, operation.num_filters)
                return f"F.relu({normed}(self.conv{number}({padded})))"
            case "convolution-relu-norm":
                self._init.append(made)
                normed = self._norm(norm, operation.num_filters)
                return f"{normed}(F.relu(self.conv{number}({padded})))"
            case "norm-relu-convolution":
                normed = self._norm(norm, shape.channels)
                self._init.append(made)
                return f"self.conv{number}({padded.format(f'F.relu({normed}({{}}))')})"

    def _pooling(self, shape: ImageShape, operation: Pooling) -> str:
        window = (operation.height, operation.width)
        strides = (operation.stride_height, operation.stride_width)
        rows, columns = (
            same_padding(*each) for each in zip(shape[1:], window, strides, strict=True)
        )
        is_max = operation.type == "max_pooling"
        function = "F.max_pool2d" if is_max else "F.avg_pool2d"
        sizes = f"{_pair(window)}, {_pair(strides)}"
        if rows[0] != rows[1] or columns[0] != columns[1]:
            padding = (*columns, *rows)
            if is_max:
                return f'{function}(F.pad({{}}, {padding}, value=-float("inf")), {sizes})'
            self._needs(average_pool)
            return f"average_pool({{}}, {window}, {strides}, {padding})"
        if not rows[0] and not columns[0]:
            return f"{function}({{}}, {sizes})"
        # What the padding holds counts for nothing: of max pooling it is -inf by itself.
        inside = "" if is_max else ", count_include_pad=False"
        return f"{function}({{}}, {sizes}, padding={_pair((rows[0], columns[0]))}{inside})"

    def _norm(self, name: str, num_channels: int) -> str:
        epsilon = self._settings.norm_epsilon
        given = "" if epsilon == 1e-5 else f", eps={epsilon!r}"
        self._init.append(f"self.{name} = nn.BatchNorm2d({num_channels}{given})")
        return f"self.{name}"

    def _pool(self, number: int) -> None:
        """Halve every map that goes on."""
        used = {i for layer in self._plan.layers[number:] for i in layer.inputs}
        used |= set(self._plan.outputs)
        going_on = [i for i in range(number + 1) if i in used]
        self._forward.append(f"{INDENT}# Every map that goes on is halved.")
        for i in going_on:
            self._forward.append(
                f"{INDENT}{_name(i)} = F.max_pool2d({_name(i)}, 2, ceil_mode=True)"
            )
        self._shapes = [
            ImageShape(s.channels, (s.height + 1) // 2, (s.width + 1) // 2) for s in self._shapes
        ]

    def _end(self) -> None:
        plan = self._plan
        call = "x = {}"
        if plan.is_norm_first:
            call = f"x = F.relu({self._norm('last_norm', plan.out_shape.channels)}({{}}))"
        self._init.append(f"self.classifier = nn.Linear({plan.num_features}, {plan.num_classes})")
        features = "x"
        if len(plan.outputs) == 1 and not plan.is_norm_first:
            features = _name(plan.outputs[0])
        else:
            self._state(call, plan.outputs, plan.out_shape, self._shown)
        is_average = self._settings.features == "average"
        seen = f"{features}.mean((2, 3))" if is_average else f"{features}.flatten(1)"
        self._forward.append(f"{INDENT}return self.classifier({seen})")

    def _state(
        self, call: str, inputs: Sequence[int], shape: ImageShape, out_shape: ImageShape
    ) -> None:
        """Write a statement on the concatenated maps; those that are smaller are padded."""
        maps = [self._padded(i, shape) for i in inputs]
        line = INDENT + call.format(
            maps[0] if len(maps) == 1 else f"torch.cat([{', '.join(maps)}], 1)"
        )
        if len(line) > WIDTH and len(maps) > 1:
            self._forward.append(listed("inputs = [", maps, "]"))
            line = INDENT + call.format("torch.cat(inputs, 1)")
        if out_shape[1:] != self._shown[1:]:
            # Said where it changes.
            size = f"# {out_shape.height} x {out_shape.width} pixels"
            if len(line) + 2 + len(size) <= WIDTH:
                line += f"  {size}"
            else:
                self._forward.append(INDENT + size)
            self._shown = out_shape
        self._forward.append(line)

    def _padded(self, i: int, shape: ImageShape) -> str:
        rows = shape.height - self._shapes[i].height
        columns = shape.width - self._shapes[i].width
        if not rows and not columns:
            return _name(i)
        above, left = rows // 2, columns // 2
        return f"F.pad({_name(i)}, {(left, columns - left, above, rows - above)})"

    def _needs(self, part: Callable[..., Any]) -> None:
        if part not in self.parts:
            self.parts.append(part)


def _name(i: int) -> str:
    return f"x{i}" if i else IMAGE


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0] if pair[0] == pair[1] else pair)
