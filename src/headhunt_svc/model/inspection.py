"""What a model is and needs, before its weights are fetched: from the hub's answer, configuration and tokenizer."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headhunt_svc.model.extractor import COMMON_SIZE
from headhunt_svc.model.hub import Listing, free_bytes
from headhunt_svc.model.hub_errors import cache_folder
from headhunt_svc.model.loading import load_layout, pick_device
from headhunt_svc.params import SegmentationParams

PROMPT = "describe the scene."


@dataclass(frozen=True, slots=True)
class Inspection:
    """A supported model. revision, commit, licence, gated: of a hub; missing_bytes: not on this disk yet.

    heads: layers, heads of a layer, width of a head. tokens: of one segment and prompt. free_memory: of `device`.
    """

    id: str
    family: str
    revision: str | None
    commit: str | None
    licence: str | None
    gated: bool
    heads: tuple[int, int, int]
    n_weights: int
    weight_bytes: int
    missing_bytes: int
    free_disk: int
    device: str
    free_memory: int
    n_frames: int
    tokens: int


def inspect(listing: Listing, revision: str | None, n_frames: int, device: str) -> Inspection:
    """Look at a model of a hub or a folder.

    Raises:
        ModelError: its prompts cannot be laid out.
    """
    folder, repository = listing.folder, listing.repository
    layout = load_layout(folder, listing.id, SegmentationParams(length_s=1.6, frames_per_segment=n_frames))
    clip = layout.clip(layout.preprocess(np.zeros((n_frames, *COMMON_SIZE, 3), np.uint8)))
    place = pick_device(device)
    return Inspection(
        id=listing.id,
        family=layout.family.name,
        revision=revision,
        commit=repository.commit if repository else None,
        licence=repository.licence if repository else None,
        gated=repository.gated if repository else False,
        heads=(len(layout.projections), layout.n_heads, layout.d_head),
        n_weights=sum(parameter.numel() for parameter in layout.model.parameters()),
        weight_bytes=sum(listing.sizes[name] for name in listing.weights),
        missing_bytes=sum(size for name, size in listing.sizes.items() if not (folder / name).exists()),
        free_disk=free_bytes(cache_folder()),
        device=str(place),
        free_memory=free_memory(place),
        n_frames=n_frames,
        tokens=len(layout.token_ids(PROMPT, clip)),
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can be used on a device; of a CPU the whole memory where the system does not say what is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
