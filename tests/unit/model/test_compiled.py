"""Compiled layers give what eager ones give, and what cannot be compiled runs eager and says so.

Most tests trace and check without the C++ compiler (torch's backend "eager"), which takes seconds; one uses it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from headhunt_svc.detector.bundle import model_key
from headhunt_svc.detector.fingerprint import check, fingerprint, golden_features
from headhunt_svc.errors import ArtifactError
from headhunt_svc.model import compiled
from headhunt_svc.model.compiled import SHAPES, SIGHTS, CompiledLayers, Half
from headhunt_svc.model.parity import TOLERANCE, check_attribution, random_clips, reference_features
from headhunt_svc.params import MllmParams
from headhunt_svc.types import HeadRef
from helpers.models import PROMPTS, TINY, tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)  # inductor's
HEADS = (HeadRef(2, 1), HeadRef(1, 0))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiles without code: what cannot be traced is found all the same."""
    torch._dynamo.reset()
    monkeypatch.setattr(
        compiled, "_compile", lambda f: torch.compile(f, fullgraph=True, dynamic=False, backend="eager")
    )
    yield
    torch._dynamo.reset()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we log; torch logs much for itself."""
    return [record.getMessage() for record in caplog.records if record.name == compiled.__name__]


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def test_compiled_by_inductor_is_eager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    extractor = tiny("internvl")
    pixels = random_clips(extractor, 3)
    plain, some = extractor.features(pixels, PROMPTS[:1]), extractor.features(pixels, PROMPTS[:1], HEADS)
    before = graphs()
    with torch._inductor.config.patch({"cpp.simdlen": 1}):  # without vectors: g++ takes less time
        extractor.compiled = CompiledLayers(extractor.model)
        features = extractor.features(pixels, PROMPTS[:1])
    np.testing.assert_allclose(features, plain, atol=TOLERANCE)
    assert extractor.compiled.reasons == []
    assert 0 < graphs() - before < 6  # alike layers are compiled once
    assert list(tmp_path.rglob("*.so"))
    np.testing.assert_allclose(extractor.features(pixels, PROMPTS[:1], HEADS), some, atol=TOLERANCE)
    shapes = [set(half.shapes) for half in extractor.compiled.halves]
    np.testing.assert_allclose(extractor.features(pixels[:2], PROMPTS[:1]), plain[:, :2], atol=TOLERANCE)
    assert [half.shapes for half in extractor.compiled.halves] == shapes  # a last, smaller batch runs eager
    with extractor.compiled.off():
        np.testing.assert_array_equal(extractor.features(pixels, PROMPTS[:1]), plain)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("family", TINY)
def test_every_family(family: str, caplog: pytest.LogCaptureFixture) -> None:
    extractor = tiny(family)
    pixels = random_clips(extractor, 1)
    expected = reference_features(extractor, list(pixels), PROMPTS[:1])
    extractor.compiled = CompiledLayers(extractor.model)
    np.testing.assert_allclose(extractor.features(pixels, PROMPTS[:1]), expected, atol=TOLERANCE)
    assert extractor.compiled.reasons == []
    vision, decoder = extractor.compiled.halves
    assert decoder.failures == []
    # Qwen's attention splits rows by numbers that lie on the device, which cannot be traced
    assert vision.compiled == ("the parts of layers beside attention" if "_vl" in family else "whole layers")
    assert len(lines(caplog)) == len(vision.failures) == ("_vl" in family)


@pytest.mark.usefixtures("traced")
def test_prompts_together_and_shares() -> None:
    extractor = tiny("internvl")
    pixels = random_clips(extractor, 2)
    expected = reference_features(extractor, list(pixels), PROMPTS[:2])
    extractor.compiled = CompiledLayers(extractor.model)
    np.testing.assert_allclose(extractor.features(pixels, PROMPTS[:2]), expected, atol=TOLERANCE)
    check_attribution(extractor)
    assert extractor.compiled.reasons == []


def test_without_a_compiler_the_model_runs_eager(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    extractor = tiny("internvl")
    pixels = random_clips(extractor, 2)
    plain = extractor.features(pixels, PROMPTS[:1])
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.cxx": (None, "/no/such/compiler")}):
        extractor.compiled = CompiledLayers(extractor.model)
    np.testing.assert_array_equal(extractor.features(pixels, PROMPTS[:1]), plain)
    assert len(lines(caplog)) == 1
    assert lines(caplog)[0].startswith("nothing can be compiled, so the model runs eager (")
    assert "/no/such/compiler" in lines(caplog)[0]
    assert len(extractor.compiled.reasons) == 1


def test_code_in_a_folder_of_somebody_else_is_not_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled.os, "getuid", lambda: 12345)
    assert CompiledLayers(tiny("internvl").model).halves == ()
    assert f"{tmp_path} is another user's: set TORCHINDUCTOR_CACHE_DIR to a folder of your own" in lines(caplog)[0]


def test_layers_that_are_not_there_are_told(caplog: pytest.LogCaptureFixture) -> None:
    half = Half("vision tower", [("whole layers", []), ("parts", [])])
    assert half.compiled is None
    assert lines(caplog) == ["vision tower: nothing is compiled, it runs eager (its layers are in no list of modules)"]


class Untraceable(nn.Linear):
    """Its way depends on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if float(x.sum()) > 0 else -super().forward(x)


class Layer(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.norm, self.self_attn = nn.LayerNorm(4), attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.self_attn(self.norm(x))
        return result


@pytest.mark.usefixtures("traced")
def test_what_cannot_be_compiled_is_replaced_by_less(caplog: pytest.LogCaptureFixture) -> None:
    layer, x = Layer(Untraceable(4, 4)), torch.randn(2, 3, 4)
    with torch.inference_mode():
        plain = layer(x)
        half = Half("vision tower", [("whole layers", [layer]), ("parts", [layer.norm])])
        for _ in range(2):
            torch.testing.assert_close(layer(x), plain)
        assert half.compiled == "parts"
        half._fall_back(RuntimeError("not this time"))
        torch.testing.assert_close(layer(x), plain, rtol=0, atol=0)
    assert half.compiled is None
    first, second = lines(caplog)
    assert first.startswith("vision tower: whole layers cannot be compiled, compiled are parts (")
    assert second == "vision tower: parts cannot be compiled, it runs eager (RuntimeError: not this time)"


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("error", [ValueError, torch.cuda.OutOfMemoryError])
def test_what_is_wrong_eager_too_is_no_fault_of_compiling(error: type[Exception]) -> None:
    class Wrong(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error("as it is")

    layer = Wrong(4, 4)
    half = Half("decoder", [("parts", [layer])])
    with pytest.raises(Exception, match="as it is") as caught:
        layer(torch.randn(2, 3, 4))
    assert half.compiled == "parts" or caught.type is not error


def _count(half: Half, layer: nn.Module, *batches: int, tokens: int = 3) -> set[tuple[int, ...]]:
    for batch in batches:
        layer(torch.randn(batch, tokens, 4))
    return half.shapes


@pytest.mark.usefixtures("traced")
def test_which_shapes_are_compiled(caplog: pytest.LogCaptureFixture) -> None:
    layer = nn.LayerNorm(4)
    half = Half("decoder", [("parts", [layer])])
    assert _count(half, layer, 1, 4, 3, 2) == {(1, 3), (4, 3)}  # larger ones, not a last one
    assert _count(half, layer, *[3] * (SIGHTS - 2)) == {(1, 3), (4, 3)}
    assert _count(half, layer, 3) == {(1, 3), (4, 3), (3, 3)}  # but what comes again and again
    assert not lines(caplog)
    for tokens in range(4, 4 + SHAPES):
        _count(half, layer, 1, 1, tokens=tokens)
    assert len(half.shapes) == SHAPES
    assert [m[:55] for m in lines(caplog)] == ["the decoder is compiled for 6 shapes of inputs; others r"[:55]]


def test_a_compiled_model_is_another(caplog: pytest.LogCaptureFixture, traced: None) -> None:
    caplog.set_level(logging.ERROR)
    extractor, folder = tiny("smolvlm"), Path("artifacts/detector")
    made: dict[str, str] = fingerprint(extractor, PROMPTS[0], 4)
    golden = golden_features(extractor, PROMPTS[0], HEADS, 4)
    assert "engine" not in made  # bundles from before it could be compiled stay as they are
    extractor.compiled = CompiledLayers(extractor.model)
    now = fingerprint(extractor, PROMPTS[0], 4)
    check(now, golden, extractor, PROMPTS[0], HEADS, 4, folder)
    with pytest.raises(ArtifactError, match=r"made with engine eager, here it is compiled: set mllm\.compile back"):
        check(made, golden, extractor, PROMPTS[0], HEADS, 4, folder)
    extractor.compiled = None
    with pytest.raises(ArtifactError, match="made with engine compiled, here it is eager"):
        check(now, golden, extractor, PROMPTS[0], HEADS, 4, folder)


def test_features_of_compiled_layers_have_a_key_of_their_own() -> None:
    plain, fast = MllmParams(id="m"), MllmParams(id="m", compile=True)
    assert model_key(plain, "r") == "r float32 sdpa"
    assert model_key(fast, "r") == "r float32 sdpa compiled"
    assert "compile" not in plain.model_dump()
    assert fast.model_dump()["compile"] is True
