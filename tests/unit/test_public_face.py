"""`import headhunt_svc`: its public names, imported on first use; no logger is changed."""

import importlib
import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import headhunt_svc

HOMES = {
    "Client": "serve.client",
    "Detector": "detector.pipeline",
    "HeadHuntError": "errors",
    "Options": "detector.options",
    "Report": "detector.report",
    "open_video": "video.opening",
}
FRESH = """
import json, logging, sys
levels = {name: logging.getLogger(name).level for name in ("torchao", "torch.utils._pytree", "transformers")}
before = set(sys.modules)
import headhunt_svc
names = dir(headhunt_svc)
imported = {name.split(".")[0] for name in set(sys.modules) - before}
same = levels == {name: logging.getLogger(name).level for name in levels}
print(json.dumps([sorted(imported), names, same]))
"""


@pytest.mark.parametrize(("name", "module"), HOMES.items())
def test_public_names(name: str, module: str) -> None:
    value = getattr(headhunt_svc, name)
    assert value is getattr(importlib.import_module(f"headhunt_svc.{module}"), name)
    assert value.__doc__


def test_all_names_every_public_name() -> None:
    assert set(headhunt_svc.__all__) == {*HOMES, "__version__"}
    assert headhunt_svc.__version__ == version("headhunt-svc")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headhunt_svc' has no attribute 'nonsense'"):
        headhunt_svc.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_no_library_and_changes_no_logger() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, timeout=60)
    imported, names, loggers_are_unchanged = json.loads(done.stdout)
    assert set(imported) <= {"headhunt_svc", *sys.stdlib_module_names}
    assert set(headhunt_svc.__all__) <= set(names)
    assert loggers_are_unchanged
