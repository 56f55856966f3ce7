"""split: draw a few calibration and validation videos from all that are not test videos."""

from collections import Counter
from pathlib import Path

from headhunt_svc.core.splitting import check_no_leak, draw_split
from headhunt_svc.data.datasets import EXPORT, annotation_files, read_annotations, write_annotations
from headhunt_svc.params import ExportParams, SplitParams
from headhunt_svc.storage.files import sha256, write_json
from headhunt_svc.types import NORMAL


def split(params: SplitParams, annotations: Path, out: Path, export: ExportParams = EXPORT) -> None:
    """Write annotations of test, calibration and validation videos, and beside them a record of the draw.

    Raises:
        DatasetError: malformed annotations, or too few videos.
    """
    in_pool = export.model_copy(
        update={"split": export.split or "calibration"}
    )  # what is in no split yet is drawn from
    annotated = read_annotations(annotations, in_pool)
    tests = [a for a in annotated if a.split in ("test", "hard")]
    pool = {a.video: a for a in annotated if a.split not in ("test", "hard")}
    sizes = {"calibration": params.calibration, "validation": params.validation}
    drawn = draw_split({name: a.label for name, a in pool.items()}, sizes, NORMAL, params.seed)
    chosen = [pool[name].model_copy(update={"split": drawn[name]}) for name in sorted(drawn)]
    result = [*chosen, *tests]
    check_no_leak({s: [a.video for a in result if a.split == s] for s in {a.split for a in result}})
    write_annotations(out, result)
    record = {
        "from": {"sha256": sha256(*annotation_files(annotations)), "videos": len(annotated)},
        "params": params.model_dump(),
        "pool": dict(sorted(Counter(a.label for a in pool.values()).items())),
        "drawn": {s: dict(sorted(Counter(a.label for a in chosen if a.split == s).items())) for s in sizes},
    }
    write_json(out.with_name(f"{out.stem}.split.json"), record)
