"""Puts the embedded default into wheels: in a clone its parameters, model and figures lie outside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("params.yaml", "artifacts/ablation.json", "artifacts/metrics.json")
MODEL = Path("artifacts/demo_mllm")


class BuildWithEmbeddedDefault(build_py):
    """Copies it to where headhunt_svc/demo/shipped.py looks; an editable install finds it in the clone."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if not self.editable_mode:
            for file in (*map(Path, SHIPPED), *sorted(MODEL.iterdir())):
                target = Path(self.build_lib, "headhunt_svc", "demo", "assets", "shipped", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithEmbeddedDefault})
