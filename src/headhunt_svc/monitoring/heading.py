"""What a page of drift begins with: the verdict in words, a row a camera, the worst first; all signals, folded."""

from html import escape

from headhunt_svc.monitoring.remedies import Step, remedy
from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict, Verdict

SHOWN_PX = 1500  # of Evidently's charts, as long as not all are opened
STYLE = f"""<style>
.verdict {{ font: 16px/1.5 sans-serif; max-width: 72rem; margin: 1rem auto; padding: 0 1rem; color: #111;
  background: #fff; }}
.verdict td, .verdict th {{ text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; }}
.verdict td:nth-child(-n+3) {{ white-space: nowrap; }}
.verdict .over td {{ font-weight: bold; }}
.charts {{ max-height: {SHOWN_PX}px; overflow: auto; }}
body:has(#all-charts:checked) .charts {{ max-height: none; }}
</style>"""
ROWS = 20  # cameras that are shown at once; the others can be opened


def period_of(verdict: Verdict) -> str:
    """The window in words."""
    return f"{verdict.start:%Y-%m-%d %H:%M} to {verdict.stop:%Y-%m-%d %H:%M} UTC"


def result_of(verdict: Verdict) -> str:
    """The verdict in a few words: how many cameras have an alarm, or that all is fine."""
    cameras = [camera for name, camera in verdict.cameras.items() if name != FLEET]
    with_alarm = sum(camera.kind is not None for camera in cameras)
    if verdict.drifted:
        return f"alarms ({with_alarm} of {len(cameras)} cameras)"
    judged = sum(camera.status == "fine" for camera in cameras)
    return "fine" if judged == len(cameras) else f"fine ({judged} of {len(cameras)} cameras could be judged)"


def title_of(verdict: Verdict) -> str:
    """The name of the window's snapshot."""
    return f"{period_of(verdict)}: {result_of(verdict)}"


def worst_first(verdict: Verdict) -> list[tuple[str, CameraVerdict]]:
    """The cameras of a verdict: those with an alarm, then by how near they are to a limit."""
    return sorted(verdict.cameras.items(), key=lambda item: (item[1].kind is None, -item[1].of_limit, item[0]))


def with_heading(page: str, verdict: Verdict, charts: int) -> str:
    """A page of Evidently that begins with the verdict, with its title. charts: so many signals it draws."""
    cameras = worst_first(verdict)
    signals = sum(len(camera.signals) for _, camera in cameras)
    parts = [
        '<main class="verdict">',
        f"<h1>Monitor: {escape(result_of(verdict))}</h1>",
        f"<p>Window: {period_of(verdict)}. Detector {escape(str(verdict.detector_id))}.</p>",
        *(f"<p>{escape(text)}</p>" for text in (*verdict.general, *verdict.problems)),
        _table(cameras[:ROWS]),
    ]
    if len(cameras) > ROWS:
        parts.append(_folded(f"{len(cameras) - ROWS} more cameras", _table(cameras[ROWS:])))
    parts += [
        _folded(f"All {signals} signals as numbers", _numbers(cameras)),
        f"<p>Below are the {min(charts, signals)} signals nearest to their limits as Evidently draws them.",
        '<label><input type="checkbox" id="all-charts"> Show them at full length</label></p></main>',
        '<div class="charts">',
    ]
    title = f"<title>Monitor: {escape(title_of(verdict))}</title>"
    page = page.replace("<head>", f"<head>\n{title}{STYLE}", 1)
    page = page.replace("<body>", "<body>" + "\n".join(parts), 1)
    start, end, rest = page.rpartition("</body>")
    return f"{start}</div>{end}{rest}"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _table(cameras: list[tuple[str, CameraVerdict]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("camera", "state", "since (UTC)", "why", "what to do"))
    return f"<table><tr>{head}</tr>{''.join(_row(name, camera) for name, camera in cameras)}</table>"


def _row(name: str, camera: CameraVerdict) -> str:
    since = f"{camera.since:%Y-%m-%d %H:%M}" if camera.since else ""
    steps = remedy(camera.kind, camera.camera, camera.since) if camera.kind else ()
    cells = [escape(cell) for cell in (name, camera.word, since, camera.reason)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, '<br>'.join(map(_step, steps))))}</tr>"


def _step(step: Step) -> str:
    return escape(step.text) + (f" <code>{escape(step.command)}</code>" if step.command else "")


def _numbers(cameras: list[tuple[str, CameraVerdict]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("camera", "signal", "value", "limit", "value over limit"))
    rows = [
        f"<tr{' class=over' * s.over}><td>{escape(name)}</td><td>{signal}</td><td>{s.value:.3f}</td>"
        f"<td>{s.limit:.3f}</td><td>{s.of_limit:.2f}</td></tr>"
        for name, camera in cameras
        for signal, s in camera.signals.items()
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
