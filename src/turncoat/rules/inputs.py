"""The forms in which n vectors may come, and the way back for the one that is returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turncoat.errors import InputError
from turncoat.linalg.rows import Rows

Vectors = Tensor | np.ndarray | Sequence[Any] | Rows
"""(n, d) tensor or array; n vectors; n state dicts, or n lists of tensors, with the same shapes in each; rows."""


def read(X: Vectors) -> tuple[Rows, Callable[[Tensor], Any]]:
    """Rows over X, and the function that gives a (d,) vector X's own form. Nothing is copied.

    Raises InputError for input that is empty, ragged, of integers or not of n vectors.
    """
    if isinstance(X, Rows):
        return X, lambda vector: vector
    if isinstance(X, Tensor):
        return Rows.of(_matrix(X)), lambda vector: vector
    if isinstance(X, np.ndarray):
        return Rows.of(_matrix(_tensor(X))), lambda vector: vector.numpy()
    if not isinstance(X, Sequence) or isinstance(X, str | bytes):
        raise InputError(f"expected an (n, d) tensor or array, or n vectors or state dicts, got {type(X).__name__}")
    if len(X) == 0:
        raise InputError("no vectors were given")
    first = X[0]
    if isinstance(first, Mapping):
        keys = list(first)
        for i, item in enumerate(X):
            if not isinstance(item, Mapping) or set(item) != set(keys):
                raise InputError(f"state dict {i} has other keys than state dict 0")
        rows, back = _layers([[item[key] for key in keys] for item in X], keys)
        return rows, lambda vector: dict(zip(keys, back(vector), strict=True))
    if isinstance(first, list | tuple) and first and isinstance(first[0], Tensor | np.ndarray):
        for i, item in enumerate(X):
            if not isinstance(item, list | tuple):
                raise InputError(f"vector {i} is {type(item).__name__} where vector 0 is a list of layers")
            if len(item) != len(first):
                raise InputError(f"vector {i} has {len(item)} layers where vector 0 has {len(first)}")
        rows, back = _layers(X, range(len(first)))
        return rows, lambda vector: type(first)(back(vector))
    rows, back = _layers([[_tensor(item)] for item in X], ["vector"], flat=True)
    if isinstance(first, Tensor):
        return rows, lambda vector: back(vector)[0]
    return rows, lambda vector: back(vector)[0].numpy()


def _layers(items: Sequence[Sequence[Any]], names: Sequence[Any], flat: bool = False) -> tuple[Rows, Callable]:
    """Rows whose segments are the layers, and the function that cuts a vector into layers again."""
    layers = [[_tensor(part) for part in layer] for layer in zip(*items, strict=True)]
    for name, layer in zip(names, layers, strict=True):
        for i, part in enumerate(layer):
            if flat and part.dim() != 1:
                raise InputError(f"vector {i} has shape {tuple(part.shape)}, expected one dimension")
            if part.shape != layer[0].shape:
                where = "" if flat else f" in layer {name!r}"
                raise InputError(
                    f"ragged vectors: vector {i} has shape {tuple(part.shape)}{where}, vector 0 {tuple(layer[0].shape)}"
                )
            _floating(part, f"vector {i}" if flat else f"layer {name!r} of vector {i}")
    like = [layer[0] for layer in layers]
    if sum(part.numel() for part in like) == 0:
        raise InputError("the vectors have no coordinates")
    segments = [[part.reshape(-1) for part in layer] for layer in layers if layer[0].numel()]

    def back(vector: Tensor) -> list[Tensor]:
        pieces = vector.split([part.numel() for part in like])
        return [piece.reshape(part.shape).to(part.dtype) for piece, part in zip(pieces, like, strict=True)]

    return Rows.of(*segments), back


def _matrix(X: Tensor) -> Tensor:
    if X.dim() != 2:
        raise InputError(f"expected n vectors of d coordinates, an (n, d) tensor, got shape {tuple(X.shape)}")
    if X.numel() == 0:
        raise InputError(f"there is nothing to aggregate in shape {tuple(X.shape)}")
    return _floating(X, "the tensor")


def _floating(tensor: Tensor, what: str) -> Tensor:
    if not tensor.dtype.is_floating_point:
        raise InputError(f"{what} is of {str(tensor.dtype).removeprefix('torch.')}; convert it to floating point")
    return tensor.detach()


def _tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
        return (
            torch.from_numpy(np.require(array, requirements=["C", "W"]))
            if array.dtype != object
            else torch.tensor(values)
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected vectors of numbers, got {type(values).__name__}: {error}") from None
