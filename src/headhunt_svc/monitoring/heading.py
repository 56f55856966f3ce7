"""What a page of drift begins with: the verdict in words, a row a camera, the worst first."""

from html import escape

from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict, Verdict

SHOWN_PX = 1500  # of Evidently's charts, as long as not all are opened
STYLE = f"""<style>
.verdict {{ font: 16px/1.5 sans-serif; max-width: 72rem; margin: 1rem auto; padding: 0 1rem; color: #111;
  background: #fff; }}
.verdict td, .verdict th {{ text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; }}
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


def with_heading(page: str, verdict: Verdict) -> str:
    """A page of Evidently that begins with the verdict, with its title."""
    cameras = worst_first(verdict)
    parts = [
        '<main class="verdict">',
        f"<h1>Monitor: {escape(result_of(verdict))}</h1>",
        f"<p>Window: {period_of(verdict)}. Detector {escape(str(verdict.detector_id))}.</p>",
        *(f"<p>{escape(problem)}</p>" for problem in (*verdict.alarms, *verdict.problems)),
        _table(cameras[:ROWS]),
    ]
    if len(cameras) > ROWS:
        parts.append(f"<details><summary>{len(cameras) - ROWS} more</summary>{_table(cameras[ROWS:])}</details>")
    parts += [
        "<p>Below are the signals as Evidently draws them, the nearest to its limit first.",
        '<label><input type="checkbox" id="all-charts"> Show all of them at full length</label></p></main>',
        '<div class="charts">',
    ]
    title = f"<title>Monitor: {escape(title_of(verdict))}</title>"
    page = page.replace("<head>", f"<head>\n{title}{STYLE}", 1)
    page = page.replace("<body>", "<body>" + "\n".join(parts), 1)
    start, end, rest = page.rpartition("</body>")
    return f"{start}</div>{end}{rest}"


def _table(cameras: list[tuple[str, CameraVerdict]]) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("camera", "state", "since (UTC)", "worst of its limit", "what to do")
    )
    return f"<table><tr>{head}</tr>{''.join(_row(name, camera) for name, camera in cameras)}</table>"


def _row(name: str, camera: CameraVerdict) -> str:
    since = f"{camera.since:%Y-%m-%d %H:%M}" if camera.since else ""
    worst = max(camera.signals.items(), key=lambda signal: signal[1].of_limit, default=None)
    value = f"{worst[0]} {worst[1].of_limit:.2f}" if worst else ""
    cells = (name, camera.kind or camera.status, since, value, camera.remedy or camera.why)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
