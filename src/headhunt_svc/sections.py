"""Files of parameters: how a YAML file is read into typed sections, and every mistake in it named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from headhunt_svc.errors import ConfigError, list_problems

AnySection = TypeVar("AnySection", bound="Section")
MOST_PAIRS, MOST_PROBLEMS = 10_000, 10
MOST_NESTED = 100  # lists and objects within each other; Python itself gives up at some hundreds


class Section(BaseModel):
    """One section of a parameters file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        for name, field in cls.model_fields.items():
            if (
                isinstance(values, Mapping)
                and isinstance(values.get(name), bool)
                and not _takes_truth(field.annotation)
            ):
                raise ValueError(f"{name} can be neither true nor false")
        return values


def _takes_truth(annotation: Any) -> bool:
    return annotation is bool or annotation is Any or any(map(_takes_truth, get_args(annotation)))


def read_parameters(path: Path, kind: type[AnySection], option: str = "--params") -> AnySection:
    """Read and check a YAML file of parameters, which `option` of the command names.

    Raises:
        ConfigError: the file is missing, not YAML, or has an unknown or wrong value (each named).
    """
    raw = read_mapping(path, option, [name for name, field in kind.model_fields.items() if field.is_required()])
    try:
        return kind.model_validate(raw)
    except ValidationError as exc:
        raise ConfigError(f"{path}: {list_problems(problems_of(exc), MOST_PROBLEMS)}") from exc


def read_mapping(path: Path, option: str, sections: Sequence[str]) -> dict[Any, Any]:
    """Read a YAML file of named sections; nothing in it is checked yet.

    Raises:
        ConfigError: the file is missing, not YAML, or holds something else; the message names the sections.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a safe loader, with limits
    except FileNotFoundError as exc:
        raise ConfigError(f"{path} not found: run from the project's root, or give {option} PATH") from exc
    except (OSError, yaml.YAMLError, *WRONG_SCALARS) as exc:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(raw, dict):
        names = ", ".join(sections) or "of its kind"
        raise ConfigError(f"{path} holds no parameters: it must have the sections {names}")
    return raw


def problems_of(exc: ValidationError) -> list[str]:
    """All of pydantic's errors, in the names of the file, without the values that are wrong."""
    return [_problem(error) for error in exc.errors(include_url=False, include_input=False)]


_VALUES = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "timestamp")}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but names are text as they stand in the file (off, 007 and 1e3 are names of cameras, too).

    No name may stand twice, and nesting and what anchors grow to have limits.
    """

    depth = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        for key, _ in node.value:
            if key.tag in _VALUES:
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise yaml.composer.ComposerError(None, None, f"nested more than {MOST_NESTED} deep", self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands here twice", key.start_mark)
            names.update([key.value] if isinstance(key, yaml.ScalarNode) else [])
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_PAIRS:
            raise yaml.constructor.ConstructorError(None, None, "too much is merged (<<) here", node.start_mark)


# what PyYAML raises for values such as !!int x, !!bool x, !!timestamp x, 2001-99-99, and numbers of 5000 digits
WRONG_SCALARS = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


def first_problem(exc: ValidationError) -> str:
    """The first of pydantic's errors, without the value that is wrong."""
    return _problem(exc.errors(include_url=False, include_input=False)[0])


def _problem(error: Any) -> str:
    """One of pydantic's errors, in the names of the file."""
    what = "unknown parameter" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {what}" if place else what
