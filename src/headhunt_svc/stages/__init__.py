"""The DVC stages: each reads files, calls the core, writes files; each is also a CLI verb."""

from pathlib import Path

ARTIFACTS = Path("artifacts")
DEMO_MLLM = ARTIFACTS / "demo_mllm"
INDEX = ARTIFACTS / "index.parquet"
HEADS = ARTIFACTS / "heads.json"
SCORER = ARTIFACTS / "scorer.safetensors"
LOCATOR = ARTIFACTS / "locator.json"
BUNDLE = ARTIFACTS / "detector"
METRICS = ARTIFACTS / "metrics.json"
FEATURES = Path("data/features")
BASELINES = Path("data/baselines")
REPORTS = Path("data/reports")
