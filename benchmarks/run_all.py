"""Runs the benchmarks one after the other, and keeps their figures by commit.

    python benchmarks/run_all.py                 # all that need no GPU: out/benchmarks/COMMIT/NAME.json and NAME.txt
    python benchmarks/run_all.py --gpu           # those for a GPU
    python benchmarks/run_all.py extraction keep_tokens   # only these
    python benchmarks/run_all.py --list          # the commands

What has run already for this commit is not run again: it can be stopped, and goes on. Let the machine do nothing else
meanwhile. Exit code 1: one failed; the others are run all the same.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
OUT = ROOT / "out" / "benchmarks"

CPU = {
    "extraction": "extraction.py --size small",
    "keep_tokens": "extraction.py --size small --keep-tokens 0.5",
    "compiled": "extraction.py --size small --compile",
    "int8": "extraction.py --size small --dtype int8",
    "preprocessing": "preprocessing.py",
    "detect": "detect.py",
    "describe": "describe.py",
    "identification": "identification.py",
    "normality": "normality.py",
    "monitoring": "monitoring.py",
    "shadow": "shadow.py",
    "console": "console.py --rounds 40",
    "service": "service.py",
    "throughput": "throughput.py --size tiny --seconds 20",
    "scaling": "scaling.py",
}
GPU = {
    "extraction_8b": "extraction.py --size 8b --batch 8",
    "keep_tokens_8b": "extraction.py --size 8b --batch 8 --keep-tokens 0.5",
    "describe_8b": "describe.py --size 8b --device cuda",
    "throughput_8b": "throughput.py --size 8b --batch 8 --workers 1 2",
}


def commit() -> str:
    """The commit of the sources, with -changed where they are not those of it."""
    name = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    status = ["git", "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return name.stdout.strip() + ("-changed" if changed else "")


def run(name: str, command: str, folder: Path) -> bool:
    """Run one benchmark; its figures are there only if it has ended well. Returns whether it has."""
    figures, part = folder / f"{name}.json", folder / f"{name}.part.json"
    if figures.exists():
        return True
    part.unlink(missing_ok=True)
    script, *arguments = shlex.split(command)
    with (folder / f"{name}.txt").open("w", encoding="utf-8") as text:
        command_line = [sys.executable, str(FOLDER / script), *arguments, "--json", str(part)]
        done = subprocess.run(command_line, cwd=ROOT, stdout=text, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0 and part.exists():
        part.replace(figures)
        return True
    return False


def main() -> None:
    """Run them, and name those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--gpu", action="store_true", help="those for a GPU, instead of those without")
    parser.add_argument("--list", action="store_true", help="print the commands, and end")
    parser.add_argument("--out", type=Path, default=OUT, help="has a folder for each commit")
    arguments = parser.parse_args()
    commands = GPU if arguments.gpu else CPU
    if unknown := sorted(set(arguments.names) - set(commands)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(commands)}")
    chosen = {name: commands[name] for name in arguments.names or commands}
    if arguments.list:
        print("\n".join(f"python benchmarks/{command} --json {name}.json" for name, command in chosen.items()))
        return
    folder = arguments.out / commit()
    folder.mkdir(parents=True, exist_ok=True)
    console, failed = Console(stderr=True), []
    for i, (name, command) in enumerate(chosen.items(), start=1):
        console.print(f"{i} of {len(chosen)}: {command}")
        if not run(name, command, folder):
            failed.append(name)
            console.print(f"failed: {folder / name}.txt says why")
    console.print(f"figures: {folder}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
