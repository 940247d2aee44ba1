"""torch's optimizers on one slice of the flat parameter vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch.optim.rmsprop import rmsprop

from ps.layout import FlatVector

# A vectorized loop treats the elements that fill no vector register, or no pair of them, otherwise
# than the rest, and rounds them otherwise. 512 bits are the widest of any processor that torch has
# kernels for, and its loops take two registers at a time.
_BLOCK = 32
_FLOAT32 = np.dtype(np.float32)
# torch's functions leave it to the optimizer classes to have defaults.
_PLAIN: dict[str, Any] = {"weight_decay": 0.0, "maximize": False}


_LEARNING_RATE = "Size of a step."
_MOMENTUM = "How much of the step before goes into the next; 0: nothing."
_EPSILON = "Added to the denominator, so that it is never zero."


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class AdamSettings(_Settings):
    """Adam: Kingma & Ba 2015, algorithm 1."""

    name: Literal["adam"] = "adam"
    learning_rate: float = Field(
        0.0006,
        gt=0,
        description="Size of a step. Zoph & Le 2017: 0.0006 in s4.1, 0.0005 in s4.2.",
    )
    beta1: float = Field(
        0.9, ge=0, lt=1, description="How slowly the average of the gradients moves."
    )
    beta2: float = Field(
        0.999, ge=0, lt=1, description="How slowly the average of their squares moves."
    )
    epsilon: float = Field(1e-8, ge=1e-30, description=_EPSILON)


class SgdSettings(_Settings):
    """Stochastic gradient descent with momentum, Nesterov's if asked for."""

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.01, gt=0, description=_LEARNING_RATE)
    momentum: float = Field(0.9, ge=0, lt=1, description=_MOMENTUM)
    nesterov: bool = Field(
        False, description="Whether momentum is Nesterov's, which looks a step ahead."
    )

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True and momentum=0.0: momentum must be above 0")
        return self


class AdagradSettings(_Settings):
    """Adagrad: Duchi, Hazan & Singer 2011."""

    name: Literal["adagrad"] = "adagrad"
    learning_rate: float = Field(0.01, gt=0, description=_LEARNING_RATE)
    epsilon: float = Field(1e-10, ge=1e-30, description=_EPSILON)
    initial_accumulator: float = Field(
        0.0, ge=0, description="What the sums of the squares of gradients begin with."
    )


class RmspropSettings(_Settings):
    """RMSprop: Tieleman & Hinton 2012, lecture 6.5; epsilon is added after the root."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = Field(0.001, gt=0, description=_LEARNING_RATE)
    decay: float = Field(
        0.99, ge=0, lt=1, description="How slowly the average of the squares of gradients moves."
    )
    momentum: float = Field(0.0, ge=0, lt=1, description=_MOMENTUM)
    epsilon: float = Field(1e-8, ge=1e-30, description=_EPSILON)


def _kind_of(array: NDArray[Any] | None) -> str:
    return "absent" if array is None else f"{array.dtype} of shape {array.shape}"


def _adam_is_the_default(given: Any) -> Any:
    return {"name": "adam", **given} if isinstance(given, dict) else given


OptimizerSettings = Annotated[
    AdamSettings | SgdSettings | AdagradSettings | RmspropSettings,
    Field(discriminator="name"),
    BeforeValidator(_adam_is_the_default),
]


class SliceOptimizer:
    """One slice of the parameters, and what an optimizer remembers of it.

    The arithmetic is torch's: the fused kernels behind its optimizer classes, whose own `step`
    takes eight times as long on a small slice; for RMSprop, which has no kernel, the function.

    The bits of a value do not depend on where the slice was cut, nor on how a gradient is aligned.

    Threads: one at a time.
    """

    def __init__(self, settings: OptimizerSettings, num_parameters: int) -> None:
        """Begin with values of zero and without memory.

        Args:
            num_parameters: P, the length of the slice; > 0.
        """
        self._shape = (num_parameters,)
        self._num_whole = num_parameters // _BLOCK * _BLOCK
        self._has_rest = self._num_whole < num_parameters
        # The gradient of what fills no block, and zeros after it.
        self._rest = torch.zeros(_BLOCK)
        self._rest_view = self._rest.numpy()[: num_parameters - self._num_whole]
        self._vectors: dict[str, FlatVector] = {}
        self._values = self._add_vector("values")
        self._step = torch.zeros(())  # steps taken
        self._count = self._step.numpy().reshape(1)  # the same, which numpy counts up sooner
        self._kernel, self._memory = self._kernel_of(settings)

    @property
    def values(self) -> FlatVector:
        """The values, (P,) float32: a view, through which they may be set."""
        return self._vectors["values"]

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The arrays in `state` that are (P,), an element for each parameter."""
        return tuple(self._vectors)

    def step(self, gradient: FlatVector) -> None:
        """Take one step against a gradient.

        Args:
            gradient: (P,) float32, contiguous, aligned or not; is neither changed nor kept.

        Raises:
            ValueError: another shape, type or order; torch's kernels would read something else.
        """
        if (
            gradient.shape != self._shape
            or gradient.dtype != _FLOAT32
            or not gradient.flags.c_contiguous
        ):
            raise ValueError(
                f"gradient is {_kind_of(gradient)}, strides {gradient.strides}: must be "
                f"{_kind_of(self.values)}, contiguous"
            )
        gradients = []
        if self._num_whole:
            gradients.append(torch.from_numpy(gradient[: self._num_whole]))
        if self._has_rest:
            self._rest_view[...] = gradient[self._num_whole :]
            gradients.append(self._rest)
        self._count += 1
        self._kernel(self._values, gradients, *self._memory)

    def state(self) -> dict[str, NDArray[Any]]:
        """Give copies of the values, the moments and the number of steps.

        Returns:
            ``vector_names``, (P,) float32, and ``step``, (1,) float32.
        """
        return {name: view.copy() for name, view in self._views().items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state of the same optimizer and length, bit for bit; copies it.

        Raises:
            ValueError: an array is missing, unknown, or of another shape or type; nothing changed.
        """
        own = self._views()
        for name in sorted(own.keys() | state.keys()):
            expected, found = _kind_of(own.get(name)), _kind_of(state.get(name))
            if found != expected:
                raise ValueError(
                    f"state[{name!r}] is {found}: must be {expected}; is it of another optimizer "
                    "or slice?"
                )
        for name, view in own.items():
            view[...] = state[name]

    def _views(self) -> dict[str, NDArray[Any]]:
        return {**self._vectors, "step": self._count}

    def _add_vector(self, name: str, fill: float = 0.0) -> list[torch.Tensor]:
        """Make a vector, padded to whole blocks; give what fills blocks, and the rest, if any."""
        (length,) = self._shape
        padded = torch.full((-(-length // _BLOCK) * _BLOCK,), fill)
        self._vectors[name] = padded.numpy()[:length]
        return [part for part in padded.tensor_split([self._num_whole]) if len(part)]

    def _kernel_of(
        self, settings: OptimizerSettings
    ) -> tuple[Callable[..., None], tuple[list[Any], ...]]:
        """Give torch's function, and the moments that follow values and gradients in its call."""
        steps = [self._step] * len(self._values)
        if isinstance(settings, AdamSettings):
            moments = self._add_vector("exp_avg"), self._add_vector("exp_avg_sq")
            return partial(
                torch._fused_adam_,
                **_PLAIN,
                lr=settings.learning_rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                eps=settings.epsilon,
                amsgrad=False,
            ), (*moments, [], steps)
        if isinstance(settings, SgdSettings):
            # The first step sets the buffer to the gradient; so does -0.0 + it, zero's sign too.
            has_buffer = settings.momentum > 0
            return partial(
                torch._fused_sgd_,
                **_PLAIN,
                lr=settings.learning_rate,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                dampening=0.0,
                is_first_step=False,
            ), (self._add_vector("momentum_buffer", -0.0) if has_buffer else [],)
        if isinstance(settings, AdagradSettings):
            return partial(
                torch._fused_adagrad_,
                **_PLAIN,
                lr=settings.learning_rate,
                eps=settings.epsilon,
                lr_decay=0.0,
            ), (self._add_vector("sum", settings.initial_accumulator), steps)
        averages = self._add_vector("square_avg")
        buffers = self._add_vector("momentum_buffer") if settings.momentum else []
        return partial(
            rmsprop,
            **_PLAIN,
            foreach=False,
            lr=settings.learning_rate,
            alpha=settings.decay,
            momentum=settings.momentum,
            eps=settings.epsilon,
            centered=False,
            # It counts by itself, and makes no use of the count.
            state_steps=[torch.zeros(()) for _ in steps],
        ), (averages, [], buffers)


# torch warns, once in a process, that it cannot keep others from writing into a read-only array.
# Gradients are views of messages, which are such arrays; nobody writes into them.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.from_numpy(np.frombuffer(bytes(4), np.float32))
