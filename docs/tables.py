"""Writes the tables of README.md and docs/ whose figures are in artifacts/: `python docs/tables.py`, after `dvc repro`.

A page says where: what lies between `<!-- table: NAME -->` and `<!-- end -->` is written anew, all else stays.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headhunt_svc import paths
from headhunt_svc.errors import ArtifactError
from headhunt_svc.storage.files import read_json, write_text
from headhunt_svc.studies.figures import arms_table, detector_table, markdown_table, summary, words

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/results.md", "docs/own-footage.md", "docs/demo-model.md")
PLACE = re.compile(r"(<!-- table: (.*?) -->\n).*?(?=<!-- end -->)", flags=re.DOTALL)
WANTED = {"event": ".90", "light": ".85", "location": ".85"}  # shares of right answers that the recipe aims at
WORST_KINDS = 5  # named in the table; pretraining.json has all
WANTED_OF_KINDS = 0.9


def read(path: Path) -> dict[str, Any]:
    """The content of an artifact."""
    content: dict[str, Any] = read_json(ROOT / path, "dvc repro")
    return content


def text_table(rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Rows as a block of text, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(["```", *([title] if title else []), *lines, "```\n"])


def summary_table() -> str:
    """The detector beside the main arms of the ablation."""
    header, rows = summary(read(paths.ABLATION), "roc_auc")
    return text_table([header, *rows])


def detector() -> str:
    """The detector on test videos, what is new, and each kind."""
    title, header, rows = detector_table(read(paths.METRICS), read(paths.ABLATION))
    return text_table([header, *rows], title)


def arms() -> str:
    """All arms of the ablation."""
    header, rows = arms_table(read(paths.ABLATION))
    return text_table([header, *rows])


def left_out() -> str:
    """The means over kinds of anomaly and over cameras that were left out."""
    result = read(paths.GENERALISATION)
    means = [result[name]["mean"] for name in ("kinds", "cameras")]
    rows = [
        [f"`{words(arm)}`", *(f"{mean[arm]['roc_auc']:.3f} ± {mean[arm]['error']:.3f}" for mean in means)]
        for arm in means[0]
    ]
    return markdown_table(["", "one kind left out", "one camera left out"], rows)


def learning_curve() -> str:
    """The detector's ROC-AUC with few labelled videos."""
    curve = next(iter(read(paths.ABLATION)["arms"].values()))["low_label"]
    rows = [[n, f"{point['mean']:.3f} ± {point['std']:.3f}"] for n, point in curve.items()]
    return markdown_table(["labelled videos", "ROC-AUC"], rows)


def skills() -> str:
    """What the embedded model answers right on windows that it has not seen."""
    accuracy = dict(read(paths.DEMO_MLLM / "pretraining.json")["accuracy"])
    kinds = {name.removeprefix("yn_"): accuracy.pop(name) for name in sorted(accuracy) if name.startswith("yn_")}
    below = sorted((share, kind) for kind, share in kinds.items() if share < WANTED_OF_KINDS)
    got = f"{len(kinds) - len(below)} of {len(kinds)} kinds reach it"
    if below:
        got += "; the worst: " + ", ".join(f"{kind} {share:.3f}" for share, kind in below[:WORST_KINDS])
    rows = [["yes or no, balanced, mean over kinds", ".95", f"{accuracy.pop('yes_no'):.3f}"]]
    rows += [["yes or no, each kind", ".90", got]]
    rows += [[name, WANTED.get(name, "-"), f"{share:.3f}"] for name, share in accuracy.items()]
    return markdown_table(["asked", "wanted", "got"], rows)


TABLES = {
    "summary": summary_table,
    "detector": detector,
    "arms": arms,
    "left out": left_out,
    "learning curve": learning_curve,
    "skills": skills,
}


def rewritten(page: str) -> str:
    """The page with its tables as the artifacts have them.

    Raises:
        ValueError: a mark without its end, or of a table that there is not.
    """
    marks, ends = page.count("<!-- table: "), page.count("<!-- end -->")
    if not marks == ends == len(PLACE.findall(page)):
        raise ValueError(f"{marks} marks <!-- table: NAME -->, {ends} <!-- end -->: write one behind each table")
    if unknown := {name for _, name in PLACE.findall(page)} - set(TABLES):
        raise ValueError(f"no table {', '.join(sorted(unknown))}: there are {', '.join(TABLES)}")
    return PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n", page)


def main() -> None:
    """Write the pages, and say which have changed; with --check write nothing, exit code 1 if one would change."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true")
    is_check, changed = parser.parse_args().check, []
    for name in PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        try:
            new = rewritten(page)
        except (ValueError, ArtifactError) as exc:
            raise SystemExit(f"{name}: {exc}") from exc
        if new != page:
            changed.append(name)
            if not is_check:
                write_text(ROOT / name, new)
    print("\n".join(changed) or "every table has the figures of artifacts/")
    if changed and is_check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
