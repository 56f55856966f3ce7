"""The DVC stages: each reads files, calls the core, writes files; each is also a CLI verb."""

from pathlib import Path

ARTIFACTS = Path("artifacts")
DEMO_MLLM = ARTIFACTS / "demo_mllm"
INDEX = ARTIFACTS / "index.parquet"
HEADS = ARTIFACTS / "heads.json"
SALIENCY = ARTIFACTS / "saliency.csv"
IDENTIFICATION = ARTIFACTS / "identification.html"
CALIBRATION = ARTIFACTS / "calibration.json"
SCORER = ARTIFACTS / "scorer.safetensors"
LOCATOR = ARTIFACTS / "locator.json"
BUNDLE = ARTIFACTS / "detector"
METRICS = ARTIFACTS / "metrics.json"
PLOTS = ARTIFACTS / "plots"
SEEDS = ARTIFACTS / "demo_seeds.json"
ABLATION = ARTIFACTS / "ablation.json"
FEATURES = Path("data/features")
MEASURED = Path("data/measured")
REPORTS = Path("data/reports")
DEMO_SEEDS = Path(".cache/seeds")
