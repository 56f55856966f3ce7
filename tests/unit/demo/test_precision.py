"""Matrix products are in bfloat16 only where the processor multiplies in it."""

import pytest
import torch

from headhunt_svc.demo.precision import product_dtype

CPU = torch.device("cpu")


def has(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16", "bf16"])
def test_a_processor_that_multiplies_in_bfloat16_does(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    has(monkeypatch, "avx2", name)
    assert product_dtype(CPU) == torch.bfloat16


def test_any_other_processor_multiplies_in_float32_and_a_gpu_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "avx2", "avx512_f")
    assert product_dtype(CPU) == torch.float32
    assert product_dtype(torch.device("cuda")) == torch.bfloat16
