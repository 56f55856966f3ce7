import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from headhunt_svc.demo.params import DEMO_PARAMS, load_demo_params
from headhunt_svc.errors import ConfigError
from headhunt_svc.params import PROMPT_SETS, PUBLISHED, IdentifyParams, PromptParams, load_params, prompt_sets
from headhunt_svc.storage.files import text_id

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def test_the_shipped_params_are_valid() -> None:
    params = load_params(SHIPPED)
    assert params.prompts.scoring_text in params.prompts.texts
    assert params.identify.instability_penalty == 0.5  # lambda of the paper


MINIMAL = """
mllm: {id: OpenGVLab/InternVL3-8B-hf, revision: 0123abc, dtype: bfloat16}
dataset: {root: data/yard, annotations: data/yard/annotations.jsonl}
segmentation: {length_s: 1.6, frames_per_segment: 16}
prompts: {texts: ["what happens in the video?", "describe the scene."]}
"""


def test_a_user_names_model_footage_segments_and_prompts_alone(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(MINIMAL)
    params = load_params(path)
    assert params.dataset.root == Path("data/yard")
    assert params.identify == IdentifyParams()
    assert params.ablate.specific == ()  # nobody but the user can name the kinds of his footage
    for section in ("mllm", "dataset", "segmentation", "prompts"):
        path.write_text("".join(line for line in MINIMAL.splitlines(True) if not line.startswith(section)))
        with pytest.raises(ConfigError, match=f"{section}: Field required"):
            load_params(path)


def test_one_word_sets_the_method_of_the_paper(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"{MINIMAL}method: paper\nfit: {{folds: 4}}\ncalibrate: {{recall: 0.8}}\n")
    params = load_params(path)
    assert (params.identify.criteria, params.identify.top_k, params.identify.instability_penalty) == ("paper", 5, 0.5)
    assert params.fit.model_dump() | {"grid": (1.0,), "folds": 4} == params.fit.model_dump()
    assert [params.fit.standardised, params.fit.balanced, params.fit.platt] == [False] * 3
    assert max(params.calibrate.sigma_segments) == 1.5  # what the paper chose
    assert params.calibrate.recall == 0.8
    path.write_text(f"{MINIMAL}fit: {{folds: 4}}\ncalibrate: {{recall: 0.8}}\n")
    assert load_params(path).as_published() == params
    for section in ("fit", "calibrate"):  # nothing but what is published is changed
        same = PUBLISHED[section].keys()
        kept = [getattr(p, section).model_dump(exclude=set(same)) for p in (params, load_params(path))]
        assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("identify: {top_k: 10}", "method `paper` sets identify.top_k to 5: take out"),
        (
            "identify: {criteria: robust}\nfit: {platt: true}",
            "sets identify.criteria to paper, fit.platt to False: take",
        ),
        ("identify: {few_videos: 36}", "method `paper` sets identify.few_videos to 0: take out"),
        ("calibrate: {sigma_segments: [0, 3]}", "method `paper` sets calibrate.sigma_segments to (0.0, 0.5, 0.75, 1.0"),
        ("fit: {scorer: normality}", "sets fit.scorer to logistic: take out"),
        ("identify: 3", "identify: Input should be a valid dictionary"),
        ("identify: {topk: 3}", "identify.topk: unknown parameter"),
    ],
)
def test_the_method_of_the_paper_with_other_values_is_refused(tmp_path: Path, given: str, says: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"{MINIMAL}method: paper\n{given}\n")
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_params(path)
    path.write_text(f"{MINIMAL}method: paper\nidentify: {{top_k: 5, criteria: paper}}\nfit: {{grid: [1]}}\n")
    assert load_params(path).fit.grid == (1.0,)  # the same values may be written


def test_fewer_videos_than_stated_keep_more_heads() -> None:
    params = IdentifyParams(top_k=10, few_videos=36)
    assert [params.n_heads(n) for n in (4, 9, 18, 35, 36, 44)] == [90, 40, 20, 11, 10, 10]
    assert IdentifyParams(top_k="auto", few_videos=36).n_heads(9) == "auto"
    assert IdentifyParams(top_k=10).n_heads(9) == 10


@pytest.mark.parametrize("section", ["corpus", "pretrain"])
def test_sections_of_the_demo_are_unknown_to_a_project(tmp_path: Path, section: str) -> None:
    (tmp_path / "params.yaml").write_text(f"{MINIMAL}{section}: {{seed: 2}}\n")
    with pytest.raises(ConfigError, match=f"{section}: unknown parameter"):
        load_params(tmp_path / "params.yaml")


def test_the_demo_reads_its_own_file(tmp_path: Path) -> None:
    shipped = yaml.safe_load(DEMO_PARAMS.read_text())
    assert load_demo_params().model_dump(mode="json", exclude_unset=True) == shipped
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(shipped | {"corpus": shipped["corpus"] | {"seed": 2}}))
    assert load_demo_params(path).corpus == load_demo_params().corpus.model_copy(update={"seed": 2})
    path.write_text(yaml.safe_dump(shipped | {"corpus": {"sizes": 2}}))
    with pytest.raises(ConfigError, match=r"demo\.yaml: corpus\.sizes: unknown parameter"):
        load_demo_params(path)


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
        ("fit.platt", False, "fit.platt: false needs fit.scorer: logistic"),
        ("mllm.dtype", "int3", "mllm.dtype"),
        ("identify.deepest_layer", True, "identify: deepest_layer can be neither true nor false"),
        ("fit.folds", True, "fit: folds can be neither"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, path: str, value: object, says: str) -> None:
    raw = yaml.safe_load(SHIPPED.read_text())
    section, name = path.split(".")
    raw[section][name] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=says):
        load_params(tmp_path / "params.yaml")


def with_prompts(path: Path, prompts: str) -> PromptParams:
    lines = [f"prompts: {prompts}\n" if line.startswith("prompts") else line for line in MINIMAL.splitlines(True)]
    path.write_text("".join(lines))
    return load_params(path).prompts


def test_a_prompt_set_gives_the_texts(tmp_path: Path) -> None:
    prompts = with_prompts(tmp_path / "params.yaml", "{set: safety@1, scoring: 1}")
    assert prompts.texts == prompt_sets()["safety"].versions[1]
    assert prompts.scoring_text == prompts.texts[1]
    assert prompts.origin == "safety@1"
    own = with_prompts(tmp_path / "params.yaml", "{texts: [one, two]}")
    assert (own.texts, own.origin) == (("one", "two"), None)


def test_what_is_special_at_a_site_is_behind_every_prompt(tmp_path: Path) -> None:
    prompts = with_prompts(
        tmp_path / "params.yaml",
        '{set: scene@1, extra: ["forklifts are normal here", "Is it night? Then nobody is in."]}',
    )
    plain = prompt_sets()["scene"].versions[1]
    said = " About this site: forklifts are normal here. Is it night? Then nobody is in."
    assert prompts.texts == tuple(text + said for text in plain)
    assert prompts.origin == "scene@1, with additions for the site"


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("{set: safety}", "'safety' names no version, and a later one has other prompts: write safety@1"),
        ("{set: safety@9}", "no prompt set 'safety@9'; there are: coarse@1, detailed@1, safety@1, scene@1"),
        ("{set: '@1'}", "no prompt set '@1'"),
        ("{set: forklifts@1}", "there are: coarse@1, detailed@1, safety@1, scene@1"),
        ("{set: safety@1, texts: [a]}", "give either texts or set"),
        ("{}", "give either texts or set"),
        ("{texts: [a], extra: [b]}", "extra is for the prompts of a set"),
        ("{set: [safety@1]}", "prompts.set: Input should be a valid string"),
        ("{set: safety@1, extra: forklifts}", "prompts.extra: Input should be a valid tuple"),
        ("{set: safety@1, extra: [' ']}", "prompts.extra.0: String should match"),
        ("{set: safety@1, scoring: 5}", "only 5 prompts"),
    ],
)
def test_prompts_that_are_not_clear_are_refused_in_one_line(tmp_path: Path, prompts: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        with_prompts(tmp_path / "params.yaml", prompts)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


RELEASED = {
    "scene@1": "7997888826bd",
    "safety@1": "ee8e3bd96aa8",
    "coarse@1": "17ee7c1cdbed",
    "detailed@1": "bca41679553c",
}


def test_a_released_set_never_changes() -> None:
    """Heads are hunted under these very words: better words are a new version."""
    sets = {f"{name}@{n}": texts for name, row in prompt_sets().items() for n, texts in row.versions.items()}
    assert {name: text_id("\n".join(sets[name])) for name in RELEASED} == RELEASED


def test_the_wheel_holds_the_sets() -> None:
    project = tomllib.loads(SHIPPED.with_name("pyproject.toml").read_text())
    assert PROMPT_SETS.name in project["tool"]["setuptools"]["package-data"]["headhunt_svc"]


def test_the_prompts_of_a_set_are_several_plain_sentences() -> None:
    for row in prompt_sets().values():
        for texts in row.versions.values():
            assert len(set(texts)) == len(texts) >= 4
            assert all(text == " ".join(text.split()) and text[-1] in ".?" for text in texts)


@pytest.mark.parametrize("text", ["a: [", "", "- 1"])
def test_what_is_no_params_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="not found"):
        load_params(tmp_path / "none.yaml")


def test_a_limit_on_layers_leaves_no_trace_where_there_is_none() -> None:
    """So nothing is made again in projects from before there was one, and the paper's method keeps it."""
    assert "deepest_layer" not in IdentifyParams().model_dump()
    limit = IdentifyParams(deepest_layer=0)
    assert limit.model_dump()["deepest_layer"] == 0
    assert IdentifyParams.model_validate({"deepest_layer": None}) == IdentifyParams()
    with pytest.raises(ValidationError):
        IdentifyParams.model_validate({"deepest_layer": -1})
    params = load_params(SHIPPED).model_copy(update={"identify": limit})
    assert params.as_published().identify.deepest_layer == 0
