"""The number format of matrix products in pre-training: bfloat16 only where the processor has instructions for it."""

import torch


def product_dtype(device: torch.device) -> torch.dtype:
    """Bfloat16 on GPUs and on CPUs that multiply in it (AMX, AVX-512 BF16, Arm BF16); elsewhere float32.

    A CPU without such instructions converts each number: on an AVX2 core a step took 6.8 times as long in bfloat16
    (`bfloat16_by_float32` of `python benchmarks/pretraining.py`).
    """
    if device.type != "cpu":
        return torch.bfloat16
    capabilities = torch.cpu.get_capabilities()
    multiplies = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.bfloat16 if multiplies else torch.float32
