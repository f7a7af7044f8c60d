"""Calls of torch that declare no types, with theirs: strictly checked files make them here."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

_torch: Any = torch
"""What torch leaves without types is typed by the functions below."""


def from_array(array: np.ndarray) -> Tensor:
    """A tensor over the memory of an array, as `torch.from_numpy` gives it.

    Args:
        array: Any shape, of a type that torch has.

    Returns:
        The same numbers in the same shape, on the CPU.
    """
    return _torch.from_numpy(array)


def as_list(tensor: Tensor) -> list[Any]:
    """Numbers of a tensor in lists, one within the other for each axis.

    Args:
        tensor: One axis or more.

    Returns:
        As many levels of lists as the tensor has axes.
    """
    numbers: Any = tensor
    return numbers.tolist()


def distinct(tensor: Tensor) -> Tensor:
    """Entries of a tensor, each once.

    Args:
        tensor: Any shape.

    Returns:
        The entries in ascending order, `(u,)`.
    """
    return _torch.unique(tensor)


def distinct_index(tensor: Tensor) -> Tensor:
    """Place of every entry among the distinct ones in ascending order.

    Args:
        tensor: Any shape.

    Returns:
        Whole numbers from 0, in the tensor's shape.
    """
    return _torch.unique(tensor, return_inverse=True)[1]


def runs(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of a sorted tensor, each once, and how often they are there.

    Args:
        tensor: Equal entries side by side, `(m,)`.

    Returns:
        Entries and their counts, both `(u,)`.
    """
    return _torch.unique_consecutive(tensor, return_counts=True)


def norm(tensor: Tensor, dim: int) -> Tensor:
    """Euclidean length along one axis.

    Args:
        tensor: Any shape.
        dim: The axis, which goes.

    Returns:
        Lengths, at least zero.
    """
    vectors: Any = tensor
    return vectors.norm(dim=dim)


def cholesky(matrix: Tensor) -> Tensor:
    """Lower Cholesky factor.

    Args:
        matrix: Symmetric and positive definite, `(..., n, n)`.

    Returns:
        Lower triangles in the same shape.

    Raises:
        torch.linalg.LinAlgError: If a matrix is not positive definite.
    """
    return _torch.linalg.cholesky(matrix)


def cholesky_ex(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Lower Cholesky factor, with a report in place of an error.

    Args:
        matrix: Symmetric, `(..., n, n)`.

    Returns:
        Lower triangles in the same shape, and numbers `(...)` that are 0 where they exist.
    """
    return _torch.linalg.cholesky_ex(matrix)


def solve(matrix: Tensor, sides: Tensor) -> Tensor:
    """Solution X of matrix X = sides.

    Args:
        matrix: Invertible, `(..., n, n)`.
        sides: `(..., n, k)` or `(..., n)`.

    Returns:
        The solution in the shape of the sides.

    Raises:
        torch.linalg.LinAlgError: If a matrix has no inverse.
    """
    return _torch.linalg.solve(matrix, sides)


def pinv(matrix: Tensor, *, rtol: float) -> Tensor:
    """Pseudo-inverse of a symmetric matrix.

    Args:
        matrix: Symmetric, `(..., n, n)`.
        rtol: Eigenvalues below this part of the largest count as zero.

    Returns:
        The pseudo-inverse in the same shape.
    """
    return _torch.linalg.pinv(matrix, rtol=rtol, hermitian=True)


def eigenvalues(matrix: Tensor) -> Tensor:
    """Eigenvalues of a symmetric matrix.

    Args:
        matrix: Symmetric, `(..., n, n)`.

    Returns:
        Eigenvalues in ascending order, `(..., n)`.
    """
    return _torch.linalg.eigvalsh(matrix)


def eigenvectors(matrix: Tensor) -> Tensor:
    """Eigenvectors of a symmetric matrix.

    Args:
        matrix: Symmetric, `(..., n, n)`.

    Returns:
        Orthonormal columns, by ascending eigenvalue, `(..., n, n)`.
    """
    return _torch.linalg.eigh(matrix).eigenvectors
