"""Where stages and commands find things: paths below the project's root."""

from pathlib import Path

ARTIFACTS = Path("artifacts")
DEMO_MLLM = ARTIFACTS / "demo_mllm"
MODEL_LOCK = ARTIFACTS / "model.json"
MODEL_LINKS = Path("data/model")  # links to the model's files: DVC hashes what they point to
INDEX = ARTIFACTS / "index.parquet"
LABELS = ARTIFACTS / "labels.parquet"
HEADS = ARTIFACTS / "heads.json"
SALIENCY = ARTIFACTS / "saliency.csv"
IDENTIFICATION = ARTIFACTS / "identification.html"
CALIBRATION = ARTIFACTS / "calibration.json"
SCORER = ARTIFACTS / "scorer.safetensors"
OPERATING_POINTS = ARTIFACTS / "locator.json"
CODE = ARTIFACTS / "code.json"
BUNDLE = ARTIFACTS / "detector"
CANDIDATE = ARTIFACTS / "candidate"
METRICS = ARTIFACTS / "metrics.json"
PLOTS = ARTIFACTS / "plots"
SEEDS = ARTIFACTS / "demo_seeds.json"
ABLATION = ARTIFACTS / "ablation.json"
GENERALISATION = ARTIFACTS / "generalisation.json"
FEATURES = Path("data/features")
MEASURED = Path("data/measured")
MARKS = Path("data/marks")
REPORTS = Path("data/reports")
TEST_FEATURES = Path("data/test_features")
DEMO_SEEDS = Path(".cache/seeds")
REFERENCE = ARTIFACTS / "reference.parquet"
DRIFT = Path("monitoring/drift.yaml")
MONITOR = Path("out/monitor")
MONITOR_POOL = Path(".cache/monitor")
DEPLOYED = Path("deployed")
CAMERAS = Path("cameras.yaml")
CAMERA_STATES = Path("data/cameras")
