"""Loads a checkpoint, from a folder or the hub's cache, as an Extractor: always the files that were locked."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers

from headhunt_svc.errors import ArtifactError, ModelError
from headhunt_svc.model import hub
from headhunt_svc.model.checkpoint import check_family, check_whole, damage_named, read_config
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import Family
from headhunt_svc.model.identity import ModelLock, current_lock, difference, weight_files
from headhunt_svc.model.quantisation import QUANTISED, base_dtype, check_device, configuration, quantise
from headhunt_svc.params import MllmParams, SegmentationParams
from headhunt_svc.storage.json_text import parse_json

NOMINAL_FPS = 25.0  # for clips that belong to no video


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first CUDA device if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def model_folder(mllm: MllmParams, lock: ModelLock | None = None) -> Path:
    """The folder with a model's files, compared with what was locked; a model of a hub is fetched if it is not cached.

    lock: of a bundle; by default that of the project.

    Raises:
        ArtifactError: not locked, or the files are not those that were locked.
        ModelError, UnreachableError: it cannot be fetched.
    """
    lock = lock or current_lock(mllm)
    folder = hub.fetch(lock) if lock.commit else Path(mllm.id)
    if problem := difference(lock, folder):
        again = f"headhunt models pull {lock.id} --revision {lock.commit}" if lock.commit else "headhunt models lock"
        hint = "to get it again" if lock.commit else "to hunt heads in this model, or put the old file back"
        raise ArtifactError(f"{lock.label} is not what was locked: {problem}; run `{again}` {hint}")
    return folder


def load_extractor(
    params: MllmParams,
    cut: SegmentationParams,
    device: str = "auto",
    untrained_seed: int | None = None,
    deepest: int | None = None,
    lock: ModelLock | None = None,
) -> Extractor:
    """Load a model, see `model_folder`; with untrained_seed the same architecture with random weights.

    cut: how segments are cut, for families whose prompts hold the time of every frame.
    deepest: decoder layers behind this one are not loaded (there are no final hidden states then).

    Raises:
        ArtifactError: not locked, or another model than was locked.
        ModelError: not found, unsupported family, or a checkpoint with missing or broken weights.
    """
    folder = model_folder(params, lock)
    with damage_named(params.id):
        return _load(folder, params, cut, pick_device(device), untrained_seed, deepest)


def _load(
    folder: Path,
    params: MllmParams,
    cut: SegmentationParams,
    device: torch.device,
    untrained_seed: int | None,
    deepest: int | None,
) -> Extractor:
    """As load_extractor, from the folder of the locked files."""
    family, config, tokenizer = _description(folder, params.id)
    if deepest is not None:
        _truncate(config.get_text_config(), deepest + 1)
    cls = getattr(transformers, family.model_class)
    check_device(params.dtype, device)
    quantised = params.dtype in QUANTISED
    config_of_weights = configuration(params.dtype) if quantised else None  # before weights are read
    dtype = base_dtype(params.dtype, device)
    if untrained_seed is not None:
        torch.manual_seed(untrained_seed)
        model = cls._from_config(config, dtype=dtype, attn_implementation=params.attention)
    else:
        model = _with_weights(cls, folder, config, params, dtype)
    if quantised:
        quantise(model, config_of_weights, device)
    return Extractor(
        model,
        tokenizer,
        family,
        device,
        _preprocessing(folder),
        cut.frame_s(NOMINAL_FPS),
        params.dtype if quantised else None,
        params.keep_tokens,
        params.compile,
    )


def load_layout(folder: Path, mllm_id: str, cut: SegmentationParams) -> Extractor:
    """A model without weights, from its small files: its heads and the layout of its prompts; nothing can be computed.

    Raises:
        ModelError: unsupported family, or a configuration or tokenizer that cannot be used.
    """
    meta = torch.device("meta")
    with damage_named(mllm_id):
        family, config, tokenizer = _description(folder, mllm_id)
        with meta:
            model = getattr(transformers, family.model_class)._from_config(config, dtype=torch.bfloat16)
        return Extractor(model, tokenizer, family, meta, _preprocessing(folder), cut.frame_s(NOMINAL_FPS))


def _description(folder: Path, mllm_id: str) -> tuple[Family, Any, Any]:
    """Family, configuration and tokenizer of a model folder; code that it brings along is not run."""
    family = check_family(read_config(folder), mllm_id)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # else layers that are left out on purpose are listed
    with damage_named(mllm_id, "configuration"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with damage_named(mllm_id, "tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    family.check_decoder(config.get_text_config().model_type, mllm_id)
    return family, config, tokenizer


def _with_weights(cls: Any, folder: Path, config: Any, params: MllmParams, dtype: torch.dtype) -> Any:
    """The model with its weights; code that the checkpoint brings along is not run, pickled weights are not read."""
    size = check_whole(folder, weight_files([path.name for path in folder.iterdir()], folder, params.id))
    with torch.device("meta"):
        described = sum(p.numel() for p in cls._from_config(deepcopy(config), dtype=dtype).parameters())
    if described > 2 * size:  # not stored twice: input and output embeddings
        raise ModelError(
            f"{params.id}: the checkpoint lacks weights: config.json describes {described}, the files hold {size}: "
            "get the checkpoint again"
        )
    model, info = cls.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation=params.attention,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        use_safetensors=True,
        trust_remote_code=False,
    )
    if mismatched := sorted(info["mismatched_keys"]):
        name, *shapes = mismatched[0]
        there, expected = (" x ".join(map(str, shape)) for shape in shapes)
        raise ModelError(
            f"{params.id}: {len(mismatched)} weights have other shapes than config.json states, e.g. {name} {there}, "
            f"not {expected}: get the checkpoint again"
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{params.id}: the checkpoint lacks {len(missing)} weights, e.g. {missing[0]}: get the checkpoint again"
        )
    return model


def _truncate(text: Any, n_layers: int) -> None:
    """Cut a text configuration down to its first layers."""
    text.num_hidden_layers = min(n_layers, text.num_hidden_layers)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]


def _preprocessing(folder: Path) -> dict[str, Any]:
    """The checkpoint's own preprocessing: that of videos if there is one, else that of images, else {}."""
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            settings = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise ModelError(f"{path} cannot be read as JSON ({exc}): get it again") from exc
        if not isinstance(settings, dict):
            raise ModelError(f"{path} holds no settings: get it again")
        return settings
    return {}
