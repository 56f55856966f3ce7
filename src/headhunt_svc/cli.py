"""The `headhunt` command: a verb parses and calls, nothing more."""

from pathlib import Path

import typer

from headhunt_svc.params import load_params

app = typer.Typer(no_args_is_help=True)
demo_app = typer.Typer(no_args_is_help=True)
app.add_typer(demo_app, name="demo")


@demo_app.command("pretrain")
def demo_pretrain() -> None:
    """Pre-train the embedded MLLM."""
    from headhunt_svc.demo.pretraining import pretrain

    pretrain(load_params().pretrain, Path(".cache/pretrain"), Path("artifacts/demo_mllm"))


@demo_app.command("corpus")
def demo_corpus() -> None:
    """Corpus."""


def main() -> None:
    """Run."""
    app()
