"""Small algebra: what it says, and the same bits in a batch of any size, at any address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from surfing.problem import matrices

COUNT = 40
SIZES = (1, 3, 5, 9, 10, 20, 33)


def _semidefinite(k: int) -> Tensor:
    factor = torch.randn(COUNT, k, k + 1, dtype=torch.float64)
    return factor @ factor.mT


def _vectors(k: int) -> Tensor:
    return torch.randn(COUNT, k, dtype=torch.float64)


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": matrices.product,
    "positive_solve": lambda h, v: matrices.positive_solve(h, v)[0],
    "eigenvalues": lambda h, v: matrices.eigenvalues(h),
    "lowest_eigenvector": lambda h, v: matrices.lowest_eigenvector(h),
    "pseudo_inverse": lambda h, v: matrices.pseudo_inverse(h),
    "squared_norms": lambda h, v: matrices.squared_norms(v),
}


@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_do_not_depend_on_the_batch(name: str, k: int) -> None:
    torch.manual_seed(k)
    matrix, v, function = _semidefinite(k), _vectors(k), FUNCTIONS[name]
    whole = function(matrix, v)
    for low, count in ((0, 1), (5, 1), (39, 1), (5, 3), (7, 8), (1, 39)):
        part = slice(low, low + count)
        assert function(matrix[part].clone(), v[part].clone()).equal(whole[part])


@pytest.mark.parametrize("k", SIZES)
def test_they_are_what_they_are_called(k: int) -> None:
    torch.manual_seed(k)
    matrix, v = _semidefinite(k), _vectors(k)
    solution, found = matrices.positive_solve(matrix, v)
    assert bool(found.all())
    expected = {
        "product": (matrix @ v.unsqueeze(-1)).squeeze(-1),
        "eigenvalues": torch.linalg.eigvalsh(matrix),
        "pseudo_inverse": torch.linalg.pinv(matrix, hermitian=True),
        "squared_norms": v.square().sum(-1),
    }
    for name, right in expected.items():
        torch.testing.assert_close(FUNCTIONS[name](matrix, v), right, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(matrices.product(matrix, solution), v, rtol=1e-6, atol=1e-6)
    softest = matrices.lowest_eigenvector(matrix)
    bend = (softest * matrices.product(matrix, softest)).sum(-1)
    torch.testing.assert_close(bend, torch.linalg.eigvalsh(matrix)[:, 0], rtol=1e-6, atol=1e-8)


def test_a_singular_matrix_keeps_its_zero_eigenvalues_and_its_null_space() -> None:
    matrix = torch.diag_embed(torch.tensor([[0.0, 2.0, 5.0]], dtype=torch.float64))
    assert matrices.eigenvalues(matrix).tolist() == [[0.0, 2.0, 5.0]]
    assert matrices.lowest_eigenvector(matrix).abs().tolist() == [[1.0, 0.0, 0.0]]
    assert matrices.pseudo_inverse(matrix).diagonal(dim1=-2, dim2=-1).tolist() == [[0.0, 0.5, 0.2]]


def test_a_matrix_that_is_not_positive_harms_no_other() -> None:
    matrix = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrix[0] *= -1
    solution, found = matrices.positive_solve(matrix, torch.ones(2, 3, dtype=torch.float64))
    assert found.tolist() == [False, True]
    assert solution[1].tolist() == [1.0, 1.0, 1.0]
