"""The orthogonalised updates of Muon."""

import torch

from headhunt_svc.demo.muon import orthogonalise


def test_orthogonalise_makes_all_singular_values_about_one() -> None:
    x = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalise(x))
    assert s.min() > 0.6
    assert s.max() < 1.3
