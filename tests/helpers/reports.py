"""A report with one of everything."""

from headhunt_svc.detector.report import Lineage, Report, ReportEvent, ReportGap, SegmentScore

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
    events=(ReportEvent(start_frame=0, stop_frame=20, start_s=0, stop_s=2, peak=0.8, peak_s=1, contributions=(1.5,)),),
    gaps=(ReportGap(time_s=None, packets=2, reason="broken"),),
    repaired_times=0,
)
