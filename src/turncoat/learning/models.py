"""Models: the networks of the papers, from recipes that fit them to the data, and the user's own.

Every registered network is one chain of plain PyTorch layers, which is what lets `gradients` choose the fastest way
through it without asking. Parameters start as PyTorch's defaults draw them.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from turncoat.errors import SpecError
from turncoat.registry import Component, accepted

Shape = tuple[int, ...]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let everything inside draw from torch's global generators seeded anew, then put them back as they were."""
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def build_model(
    what: Recipe | nn.Module | Callable[..., nn.Module], shape: Shape, classes: int, seed: int
) -> nn.Module:
    """A fresh module with initial parameters drawn from the seed, torch's global generators left as they were.

    `what` is a recipe, a module of the user's (copied, its parameters kept), or a class or function that returns one:
    called with `shape` (of one sample) and `classes` if it has parameters of these names. Raises SpecError for
    anything else.
    """
    with seeded(seed):
        if isinstance(what, nn.Module):
            return copy.deepcopy(what)
        if isinstance(what, Recipe):
            return what.build(shape, classes)
        if not callable(what):
            raise SpecError(f"a model is a name, an nn.Module or a function that returns one, not {what!r}")
        name = getattr(what, "__name__", repr(what))
        model = what(**_arguments(what, name, {"shape": shape, "classes": classes}))
    if not isinstance(model, nn.Module):
        raise SpecError(f"the model {name} returned a {type(model).__name__}: return an nn.Module")
    return model


def _arguments(function: Callable[..., Any], name: str, offered: dict[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that the function has a parameter for."""
    given = accepted(function, **offered)
    try:
        inspect.signature(function).bind(**given)
    except ValueError:  # some built-in callables have no signature
        return given
    except TypeError as error:
        raise SpecError(f"cannot call the model {name} with {list(given) or 'nothing'}: {error}") from None
    return given


@dataclass(frozen=True)
class Recipe(Component):
    """Base of the registered models: knows how to build its network for samples of a shape and a number of classes."""

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """The network, with parameters drawn from torch's global generator; SpecError for a shape that does not fit."""
        raise NotImplementedError

    def _image(self, shape: Shape, smallest: int) -> Shape:
        """Channels, height and width, checked."""
        if len(shape) != 3 or min(shape[1:]) < smallest:
            raise SpecError(
                f"{self.name} takes images of channels x height x width, from {smallest}x{smallest} up, not samples "
                f"of shape {'x'.join(map(str, shape))}: use softmax or mlp"
            )
        return shape


@dataclass(frozen=True)
class Softmax(Recipe):
    """Softmax regression (LR), one linear layer: 7,850 parameters for 28x28 images and 10 classes."""

    name = "softmax"
    source = "S0"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


@dataclass(frozen=True)
class MLP(Recipe):
    """One hidden layer with ReLU: 79,510 parameters for 28x28 images and 10 classes.

    MixTailor's text has a CNN for MNIST (`mnistnet`), its released code trains this one.
    """

    name = "mlp"
    source = "Ramezani-Kebrya et al. 2022, code"

    hidden: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, int) or self.hidden < 1:
            raise SpecError(f"hidden = {self.hidden!r} must be a whole number from 1 up")

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *_dense(math.prod(shape), self.hidden), nn.Linear(self.hidden, classes))


@dataclass(frozen=True)
class CNN(Recipe):
    """Two 3x3 convolutions (32, 64), pooling, two linear layers: 1,199,882 parameters for 1x28x28 images.

    There is no ReLU between the second convolution and the pooling. The paper's text drops elements; the code that it
    descends from drops whole channels of the image: dropout = channel.
    """

    name = "cnn"
    source = "S0; Karimireddy et al. 2022, code"

    dropout: str = "element"

    def __post_init__(self) -> None:
        if self.dropout not in ("element", "channel"):
            raise SpecError(f"dropout = {self.dropout!r} must be element or channel")

    def build(self, shape: Shape, classes: int) -> nn.Module:
        channels, height, width = self._image(shape, 6)
        features = 64 * ((height - 4) // 2) * ((width - 4) // 2)
        drop = [nn.Flatten(), nn.Dropout(0.25)] if self.dropout == "element" else [nn.Dropout2d(0.25), nn.Flatten()]
        return nn.Sequential(
            *(nn.Conv2d(channels, 32, 3), nn.ReLU(inplace=True)),
            *(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2)),
            *drop,
            *(*_dense(features, 128), nn.Dropout(0.5), nn.Linear(128, classes)),
        )


@dataclass(frozen=True)
class MnistNet(Recipe):
    """MixTailor's CNN for MNIST, two 5x5 convolutions (10, 20): 21,840 parameters for 1x28x28 images."""

    name = "mnistnet"
    source = "Ramezani-Kebrya et al. 2022"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        channels, height, width = self._image(shape, 16)
        return nn.Sequential(
            *(nn.Conv2d(channels, 10, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(10, 20, 5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Flatten(), *_dense(20 * _after_two(height) * _after_two(width), 50), nn.Dropout()),
            nn.Linear(50, classes),
        )


@dataclass(frozen=True)
class CifarNet(Recipe):
    """MixTailor's CNN for CIFAR-10, two 5x5 convolutions (64, 128): 3,420,802 parameters for 3x32x32 images."""

    name = "cifarnet"
    source = "Ramezani-Kebrya et al. 2022"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        channels, height, width = self._image(shape, 16)
        return nn.Sequential(
            nn.Dropout2d(0.2),
            *(nn.Conv2d(channels, 64, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(64, 128, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Dropout(), *_dense(128 * _after_two(height) * _after_two(width), 1000), nn.Dropout()),
            nn.Linear(1000, classes),
        )


@dataclass(frozen=True)
class FallCNN(Recipe):
    """Four 3x3 convolutions with batch normalisation: 1,310,922 parameters for 3x32x32 images.

    "Fall of Empires" only says four convolutions and one linear layer; the details are those of its authors' code for
    Zeno, which has a hidden linear layer besides.
    """

    name = "fallcnn"
    source = "Xie et al. 2019, reconstructed"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        channels, height, width = self._image(shape, 4)

        def convolution(before: int, after: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(after)]

        return nn.Sequential(
            *(*convolution(channels, 64), *convolution(64, 64), nn.MaxPool2d(2), nn.Dropout(0.25)),
            *(*convolution(64, 128), *convolution(128, 128), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25)),
            *(*_dense(128 * (height // 4) * (width // 4), 128), nn.Dropout(0.25), nn.Linear(128, classes)),
        )


@dataclass(frozen=True)
class LeNet5(Recipe):
    """LeNet-5 with ReLU and max-pooling: 61,706 parameters for 1x28x28 images (padded by 2), 62,006 for 3x32x32."""

    name = "lenet5"
    source = "LeCun et al. 1998; S3"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        if len(shape) != 3 or shape[1:] not in ((28, 28), (32, 32)):
            raise SpecError(
                f"lenet5 takes images of 28x28, padded by 2, or 32x32, not samples of shape {'x'.join(map(str, shape))}"
            )
        return nn.Sequential(
            *(nn.Conv2d(shape[0], 6, 5, padding=2 if shape[1] == 28 else 0), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Flatten(), *_dense(400, 120), *_dense(120, 84), nn.Linear(84, classes)),
        )


@dataclass(frozen=True)
class AlexNet(Recipe):
    """AlexNet for small images, five 3x3 convolutions, two hidden layers: 23,272,266 parameters for 3x32x32 images.

    The convolutions have 64 (stride 2), 192, 384, 256 and 256 channels, with pooling after the first, the second and
    the last; dropout stands before each of the two hidden layers of 4096.
    """

    name = "alexnet"
    source = "Krizhevsky et al. 2012; S3, reconstructed"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return _alexnet(self._image(shape, 16), classes, 64, 192, 384, 256, hidden=4096)


@dataclass(frozen=True)
class AlexNetSmall(Recipe):
    """AlexNet with half the channels and hidden layers of 512: 1,094,058 parameters for 3x32x32 images.

    The layers are alexnet's: convolutions of 32 (stride 2), 96, 192, 128 and 128 channels, hidden layers of 512.
    """

    name = "alexnet_small"
    source = "a smaller alexnet, in no paper"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return _alexnet(self._image(shape, 16), classes, 32, 96, 192, 128, hidden=512)


@dataclass(frozen=True)
class Point(Recipe):
    """A point that starts at 0, for estimating a mean: as many parameters as a sample has numbers.

    With the loss 0.5 * ||theta - x||^2 a worker's gradient is theta less the mean of its batch.
    """

    name = "point"
    source = "S0, 2-D mean estimation"

    def build(self, shape: Shape, classes: int) -> nn.Module:
        if len(shape) != 1:
            raise SpecError(f"point takes samples that are vectors, not of shape {'x'.join(map(str, shape))}")
        return nn.Sequential(Constant(shape[0]))


class Constant(nn.Module):
    """A layer that returns its only parameter, a vector, whatever its input (batch, size) is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(size))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return self.theta.expand_as(input)


def _dense(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(before, after), nn.ReLU(inplace=True)


def _after_two(size: int) -> int:
    """What two 5x5 convolutions, each with 2x2 pooling, leave of a height or width."""
    return ((size - 4) // 2 - 4) // 2


def _alexnet(shape: Shape, classes: int, a: int, b: int, c: int, d: int, hidden: int) -> nn.Module:
    channels, *size = shape
    features = d * math.prod(((side + 1) // 2) // 8 for side in size)

    def convolution(before: int, after: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, stride, padding=1), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *(*convolution(channels, a, 2), nn.MaxPool2d(2), *convolution(a, b), nn.MaxPool2d(2)),
        *(*convolution(b, c), *convolution(c, d), *convolution(d, d), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(), *_dense(features, hidden), nn.Dropout(), *_dense(hidden, hidden)),
        nn.Linear(hidden, classes),
    )
