"""Which families there are: this package's own, and those that other distributions add by an entry point.

    [project.entry-points."headhunt_svc.families"]
    MODEL_TYPE = "package.module:Class"

The name is the `model_type` of a checkpoint's config.json; the class is a subclass of Family. Our own are listed here
rather than in pyproject.toml: a service bundle, a copy of the source on the path and an installation that is older than
the source have no entry points of theirs.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from headhunt_svc.errors import ModelError
from headhunt_svc.model.families.base import Family

logger = logging.getLogger(__name__)

GROUP = "headhunt_svc.families"
BUILT_IN = {
    "internvl": "headhunt_svc.model.families.internvl:InternVL",
    "llava_onevision": "headhunt_svc.model.families.llava:LlavaOneVision",
    "qwen2_5_vl": "headhunt_svc.model.families.qwen:Qwen25VL",
    "qwen3_vl": "headhunt_svc.model.families.qwen:Qwen3VL",
    "smolvlm": "headhunt_svc.model.families.smolvlm:SmolVLM",
}
OWN = "headhunt-svc"
SIMILAR = 0.5  # of difflib: two ids that share less are not neighbours


@dataclass(frozen=True, slots=True)
class Plugin:
    """All that claim one model type; reading it imports nothing."""

    model_type: str
    entries: tuple[EntryPoint, ...]  # two are one too many

    @property
    def distribution(self) -> str:
        """Who provides it, name and version: "headhunt-svc", "acme-families 1.2"."""
        return " and ".join(map(_distribution, self.entries))

    @property
    def added(self) -> bool:
        """Does another distribution provide it?"""
        return any(entry.dist is not None for entry in self.entries)

    def load(self) -> Family:
        """The family.

        Raises:
            ModelError: two claim this model type, or the one cannot be imported or is not a Family.
        """
        if len(self.entries) > 1:
            raise ModelError(
                f"model type {self.model_type!r} is claimed by {self.distribution}: uninstall all but one of them"
            )
        (entry,) = self.entries
        where = f"the model family {self.model_type!r} of {_distribution(entry)} ({entry.value})"
        try:
            family = entry.load()
        except Exception as exc:  # whatever another distribution's module raises
            reason = (str(exc).splitlines() or [""])[0]
            raise ModelError(
                f"{where} cannot be imported: {type(exc).__name__}: {reason}; repair or uninstall that distribution"
            ) from exc
        if not (isinstance(family, type) and issubclass(family, Family)):
            raise ModelError(f"{where} is not a subclass of headhunt_svc.model.families.Family")
        if missing := sorted(family.__abstractmethods__):
            raise ModelError(f"{where} lacks {', '.join(missing)}, see docs/adding-a-family.md")
        return family()


def _distribution(entry: EntryPoint) -> str:
    return OWN if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def plugins() -> tuple[Plugin, ...]:
    """Every supported model type, in alphabetical order."""
    by_type = {model_type: [EntryPoint(model_type, value, GROUP)] for model_type, value in BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        by_type.setdefault(entry.name, []).append(entry)
    return tuple(Plugin(model_type, tuple(entries)) for model_type, entries in sorted(by_type.items()))


def model_types() -> tuple[str, ...]:
    """The supported values of `model_type`."""
    return tuple(plugin.model_type for plugin in plugins())


def family_of(model_type: str, mllm_id: str, decoder: str | None = None) -> Family:
    """The family of a model type; `decoder`, the model type of its text part, is checked if it is given.

    Raises:
        ModelError: an unsupported one (names what is supported, and what is nearest), or a plug-in that is broken.
    """
    table = {plugin.model_type: plugin for plugin in plugins()}
    if model_type not in table:
        nearest = nearest_checkpoint(mllm_id, model_type)
        raise ModelError(
            f"{mllm_id} is of type {model_type!r}, which is not supported (nobody has checked how its prompts and "
            f"pictures are laid out); supported: {', '.join(table)}" + (f"; nearest: {nearest}" if nearest else "")
        )
    family = table[model_type].load()
    if decoder is not None:
        family.check_decoder(decoder, mllm_id)
    return family


def nearest_checkpoint(mllm_id: str, model_type: str | None = None) -> str | None:
    """The known checkpoint whose id is most like another: OpenGVLab/InternVL3-8B -> OpenGVLab/InternVL3-8B-hf.

    model_type: what the config says; where it is a family's original format, only that family's checkpoints count.
    """
    families = list(_loadable(plugins()))
    of_type = [family for family in families if model_type in family.original_types]
    by_name = {_key(name): name for family in of_type or families for name in family.checkpoints}
    close = get_close_matches(_key(mllm_id), by_name, n=1, cutoff=0 if of_type else SIMILAR)
    return by_name[close[0]] if close else None


def _key(mllm_id: str) -> str:
    """An id without its owner and capitals, which forks and conversions change."""
    return mllm_id.rstrip("/").rpartition("/")[2].lower()


def _loadable(table: Iterable[Plugin]) -> Iterable[Family]:
    for plugin in table:
        try:
            yield plugin.load()
        except ModelError as exc:  # of another model type than the one that is asked for
            logger.warning("%s", exc)
