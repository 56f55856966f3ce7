"""A report with one of everything."""

from headhunt_svc.detector.report import (
    Lineage,
    Report,
    ReportDiscontinuity,
    ReportEvent,
    ReportGap,
    ReportHole,
    ReportStream,
    SegmentScore,
)

REPORT = Report(
    detector_id="d",
    code="c",
    lineage=Lineage(mllm="m", mllm_revision="r", prompt="p", heads=((1, 2),), bias=0.5, data_sha256="s"),
    video_id="v",
    fps=10,
    n_frames=20,
    duration_s=2,
    operating_point="f1",
    sigma_segments=1,
    threshold=0.5,
    smoothing="offline",
    scores=(SegmentScore(index=0, start_frame=0, stop_frame=20, start_s=0, stop_s=2, raw=0.9, smoothed=0.8),),
    events=(
        ReportEvent(
            start_frame=0,
            stop_frame=20,
            start_s=0,
            stop_s=2,
            peak=0.8,
            peak_s=1,
            contributions=(1.5,),
            description="a [red] car",
        ),
    ),
    gaps=(ReportGap(time_s=None, packets=2, reason="broken"), ReportGap(time_s=1, packets=3, reason="x", stop_s=1.5)),
    repaired_times=0,
    stated_fps=25,
    holes=(ReportHole(start_s=2, stop_s=602),),
    discontinuities=(ReportDiscontinuity(time_s=1, jump_s=-4998.6),),
    unfinished="the last cluster is cut off",
    stream=ReportStream(number=1, of=(0, 1)),
    description_prompt="what happens?",
    cautions=("heads at chance",),
)
