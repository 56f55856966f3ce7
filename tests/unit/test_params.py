from pathlib import Path

import pytest
import yaml

from headhunt_svc.errors import ConfigError
from headhunt_svc.params import load_params

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def test_the_shipped_params_are_valid() -> None:
    params = load_params(SHIPPED)
    assert params.prompts.scoring_text in params.prompts.texts
    assert params.identify.instability_penalty == 0.5  # lambda of the paper


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("identify.topk", 3, "identify.topk: unknown parameter"),
        ("identify.top_k", 0, r"identify.top_k\.\S+: Input should be greater than 0"),
        ("identify.top_k", "all", "identify.top_k.*Input should be 'auto'"),
        ("identify.criteria", "best", "identify.criteria: Input should be 'paper' or 'robust'"),
        ("segmentation.length_frames", 48, "exactly one of length_s and length_frames"),
        ("prompts.texts", ["a", "a"], "two prompts are the same"),
        ("prompts.texts", [], "prompts.texts"),
        ("prompts.scoring", 9, "only 4 prompts"),
        ("mllm.dtype", "int3", "mllm.dtype"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, path: str, value: object, says: str) -> None:
    raw = yaml.safe_load(SHIPPED.read_text())
    section, name = path.split(".")
    raw[section][name] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=says):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["a: [", "", "- 1"])
def test_what_is_no_params_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="not found"):
        load_params(tmp_path / "none.yaml")
