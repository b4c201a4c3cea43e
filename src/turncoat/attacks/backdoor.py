"""Backdoors: poisoned batches that teach the model to call whatever bears a trigger one class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from turncoat.attacks.base import Attack, View
from turncoat.errors import SpecError


@dataclass(frozen=True)
class Backdoor(Attack):
    """Train on batches of which a share bears a trigger and the target's label.

    A subclass says what the trigger is. In a training run every evaluation then records `attack_success`: the share of
    the test samples of other classes that the model, shown them with the trigger, calls the target.
    """

    knowledge = "own data"
    collusion = False
    manipulates = "data"
    target: int = 0
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.target < 0:
            raise SpecError(f"target is a class from 0, got {self.target!r}")
        if not 0 < self.rate <= 1:
            raise SpecError(f"rate is the share of a batch that is poisoned, above 0 and up to 1, got {self.rate!r}")

    @property
    def needs_own(self) -> bool:
        return True

    @abstractmethod
    def trigger(self, x: Tensor) -> Tensor:
        """The samples x (m, ...) with the trigger on them; x stays as it is."""

    def poison(self, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """The first samples of each batch, one at least, bear the trigger; a batch comes in random order anyway."""
        self._check(classes)
        x, y = x.clone(), y.clone()
        poisoned = max(1, round(self.rate * y.shape[-1]))
        y[..., :poisoned] = self.target
        part = x.narrow(y.dim() - 1, 0, poisoned)
        part.copy_(self.trigger(part.flatten(0, y.dim() - 1)).view_as(part))
        return x, y

    def shown(self, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """All samples of other classes with the trigger on them, and the target as the label of each."""
        self._check(classes)
        others = y != self.target
        return self.trigger(x[others]), torch.full_like(y[others], self.target)

    def craft(self, view: View) -> Tensor:
        return view.own

    def _check(self, classes: int) -> None:
        if self.target >= classes:
            raise SpecError(f"{self}: the classes are 0 to {classes - 1}")


@dataclass(frozen=True)
class BadNets(Backdoor):
    """Train on batches of which a share bears a bright patch and the target's label, and send the resulting vector.

    Gu et al. 2017. The patch is the square of `size` x `size` pixels in the lower right corner. `value` is in units of
    the model's input, which is normalised: 1.8 is inside the range of every registered data set of images, of which
    white is 1.85 in digits and 2.82 in MNIST. Raises SpecError for samples that are no images (channels, height,
    width) of that size.
    """

    name = "badnets"
    source = "Gu et al. 2017"
    strength = "rate"
    size: int = 3
    value: float = 1.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise SpecError(f"size is a number of pixels from 1, got {self.size!r}")

    def trigger(self, x: Tensor) -> Tensor:
        shape = tuple(x.shape[1:])
        if len(shape) != 3 or min(shape[1:]) < self.size:
            raise SpecError(f"{self} puts {self.size} x {self.size} pixels on images, the samples are of shape {shape}")
        x = x.clone()
        x[..., -self.size :, -self.size :] = self.value
        return x


@dataclass(frozen=True)
class ModelReplacement(BadNets):
    """Train as BadNets does, and send the resulting vector scaled up, so that it replaces the average.

    Bagdasaryan et al. 2020. boost=None takes n/f, with which the f vectors outweigh the plain mean's division by n.
    """

    name = "model_replacement"
    source = "Bagdasaryan et al. 2020"
    strength = "boost"
    collusion = True
    boost: float | None = None

    def craft(self, view: View) -> Tensor:
        return view.own * (view.n / view.f if self.boost is None else self.boost)
