"""A pre-training in miniature."""

from headhunt_svc.demo.params import DemoModelParams, PretrainParams, PretrainStageParams, ShortClips

STAGE = PretrainStageParams(
    steps=4, batch=4, muon_lr=0.02, adamw_lr=0.003, schedule=((2, 1.0), (4, 0.0)), warmup_steps=1
)
SMALL = DemoModelParams(
    vision_width=32,
    vision_layers=1,
    hidden_size=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    intermediate_size=48,
)
MINI = PretrainParams(windows=24, processes=1, checkpoint_every=2, see=STAGE, speak=STAGE, model=SMALL)
OPTIONS = {"ema": 0.5, "head_dropout": 0.25, "orthogonality": 0.1, "probes": 4}
SHORT = STAGE.model_copy(update={"recognition": 1.0, "short": ShortClips(steps=2, batch=6)})
WITH_OPTIONS = MINI.model_copy(update={**OPTIONS, "speak": SHORT})
