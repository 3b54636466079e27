"""Small algebra in double precision whose bits don't depend on how many rows there are.

Vendor kernels choose their code by the size of the batch and by where in memory a matrix lies.
Here a product with a vector is a sum, and matrices of odd size, which side by side lie at odd
addresses, are worked on inside larger ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = [
    "ALIGNED",
    "eigenvalues",
    "lowest_eigenvector",
    "positive_solve",
    "product",
    "pseudo_inverse",
    "squared_norms",
]

ALIGNED = 8
"""Numbers of 8 bytes in a cache line: matrices with such rows all begin at the start of one."""


def squared_norms(v: Float[Tensor, "... n"]) -> Float[Tensor, ...]:
    """||v||^2 in float64, one a row."""
    squares = v.double().square()
    if squares.numel() == squares.shape[-1]:
        # One sum alone would be split among the threads; two are not.
        return torch.stack([squares, squares]).sum(-1)[0]
    return squares.sum(-1)


def product(matrix: Float[Tensor, "r k k"], v: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
    """H v."""
    return (matrix * v.unsqueeze(-2)).sum(-1)


def positive_solve(
    matrix: Float[Tensor, "r k k"], right: Float[Tensor, "r k"]
) -> tuple[Float[Tensor, "r k"], Bool[Tensor, " r"]]:
    """H^-1 b by Cholesky, and which rows have one; a bad row harms no other."""
    k = matrix.shape[-1]
    whole = _embedded(matrix, torch.ones_like(matrix[..., 0, 0]))
    factor, info = torch.linalg.cholesky_ex(whole)
    padded = torch.nn.functional.pad(right, (0, whole.shape[-1] - k))
    solution = torch.cholesky_solve(padded.unsqueeze(-1), factor).squeeze(-1)
    return solution[..., :k], info == 0


def eigenvalues(matrix: Float[Tensor, "r k k"]) -> Float[Tensor, "r k"]:
    """Of positive semidefinite matrices, lowest first."""
    whole = _embedded(matrix, _beyond(matrix))
    found: Tensor = torch.linalg.eigvalsh(whole)
    return found[..., : matrix.shape[-1]]


def lowest_eigenvector(matrix: Float[Tensor, "r k k"]) -> Float[Tensor, "r k"]:
    """Of positive semidefinite matrices."""
    whole = _embedded(matrix, _beyond(matrix))
    found: Tensor = torch.linalg.eigh(whole).eigenvectors
    return found[..., : matrix.shape[-1], 0]


def pseudo_inverse(matrix: Float[Tensor, "r k k"]) -> Float[Tensor, "r k k"]:
    """Of symmetric matrices, H^+."""
    k = matrix.shape[-1]
    whole = _embedded(matrix, torch.zeros_like(matrix[..., 0, 0]))
    cutoff = k * torch.finfo(matrix.dtype).eps
    found: Tensor = torch.linalg.pinv(whole, hermitian=True, rtol=cutoff)
    return found[..., :k, :k]


def _beyond(matrix: Tensor) -> Tensor:
    """More than any eigenvalue: what is added sorts last."""
    return 2 * matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _embedded(matrix: Float[Tensor, "r k k"], corner: Float[Tensor, " r"]) -> Tensor:
    """Matrices of odd size, in the upper left of larger ones with `corner` on the diagonal."""
    k = matrix.shape[-1]
    if k % 2 == 0:
        return matrix
    size = k + -k % ALIGNED
    whole = torch.diag_embed(corner.unsqueeze(-1).expand(-1, size))
    whole[..., :k, :k] = matrix
    return whole
