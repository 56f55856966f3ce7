"""Commands on batch jobs: `headhunt jobs ...`, `headhunt worker`, `headhunt batch`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from headhunt_svc import paths
from headhunt_svc.cli.console import clock, note, note_cautions, safe, wide
from headhunt_svc.cli.options import (
    BundleFolder,
    Contributions,
    Describe,
    MetricsAddress,
    MetricsPort,
    PointName,
    SmoothingMode,
    StreamNumber,
    Threshold,
    check_bundle,
)
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import EXIT_SOME_FAILED
from headhunt_svc.jobs.models import Delivery, Job, JobOptions, JobRequest
from headhunt_svc.names import is_uri, uri_of
from headhunt_svc.storage.exposition import LOOPBACK

if TYPE_CHECKING:
    from headhunt_svc.jobs.client import Jobs

app = typer.Typer()
jobs_app = typer.Typer(no_args_is_help=True, help="Batch jobs that survive restarts and crashes (docs/jobs.md).")
app.add_typer(jobs_app, name="jobs")

JobId = Annotated[str, typer.Argument(help="The job's id.")]
Inputs = Annotated[list[str], typer.Argument(help="Videos, folders, globs, manifests (.csv, .jsonl), URIs.")]
WATCH_S = 1.0
MOST_SHOWN = 1000  # videos of a job


@jobs_app.command()
def submit(
    inputs: Inputs,
    operating_point: PointName = "f1",
    threshold: Threshold = None,
    smoothing: SmoothingMode = "offline",
    contributions: Contributions = False,
    stream: StreamNumber = None,
    describe: Describe = False,
    priority: Annotated[int, typer.Option(min=1, max=10_000, help="Lower is sooner.")] = 100,
    webhook: Annotated[str | None, typer.Option(help="URL that gets events and the end of the job.")] = None,
    key: Annotated[str, typer.Option(help="Another key makes another job of the same request.")] = "",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Put videos into the queue; prints the job's id. The same request again is the same job."""
    # Options refuses wrong values with a message of one line
    options = JobOptions(**asdict(Options(operating_point, threshold, smoothing, contributions, stream, describe)))
    absolute = tuple(i if is_uri(i) or i.startswith("upload:") else uri_of(Path(i).absolute()) for i in inputs)
    request = JobRequest(inputs=absolute, options=options, priority=priority, webhook=webhook, key=key)
    with _queue() as jobs:
        typer.echo(jobs.submit(request, bundle))


@jobs_app.command("list")
def list_jobs() -> None:
    """All jobs, the newest first."""
    with _queue() as jobs:
        print_jobs(jobs.all())


@jobs_app.command("show")
def show_job(job_id: JobId, json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False) -> None:
    """State of a job, its errors and events."""
    with _queue() as jobs:
        if json:
            typer.echo(jobs.show(job_id).model_dump_json())
            return
        print_job(jobs.show(job_id, limit=MOST_SHOWN + 1, notable=True))
        print_deliveries(jobs.deliveries(job_id))


@jobs_app.command()
def watch(job_id: JobId) -> None:
    """Wait until a job ends; exit code 3 where videos failed."""
    from headhunt_svc.jobs.queue import DONE

    printed = ""
    with _queue() as jobs:
        while (job := jobs.show(job_id, limit=0)).state not in DONE:
            if (progress := f"{job.state}, {job.percent:.0f} %") != printed:
                left = f", {clock(job.eta_s)} left" if job.eta_s else ""
                note((printed := progress) + left)
            time.sleep(WATCH_S)
        print_job(jobs.show(job_id, limit=MOST_SHOWN + 1, notable=True))
    if job.state != "succeeded":
        raise typer.Exit(EXIT_SOME_FAILED)


@jobs_app.command()
def cancel(job_id: JobId) -> None:
    """Stop a job; finished videos keep their results."""
    with _queue() as jobs:
        jobs.cancel(job_id)


@jobs_app.command()
def retry(job_id: JobId) -> None:
    """Run failed and cancelled videos again."""
    with _queue() as jobs:
        note(f"{jobs.retry(job_id)} videos run again")


@jobs_app.command()
def results(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="A .parquet file; without it JSON lines are printed.")] = None,
) -> None:
    """The results so far: one row for each finished video, errors included."""
    from headhunt_svc.jobs.rows import save_parquet

    with _queue() as jobs:
        if out is not None:
            save_parquet(out, jobs.rows(job_id))
            return
        for line in jobs.json_lines(job_id):
            typer.echo(line)


@jobs_app.command()
def purge(
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Default: HEADHUNT_JOBS_KEEP_DAYS.")] = None,
) -> None:
    """Delete finished jobs, and results that no other job uses."""
    with _queue() as jobs:
        note(f"{jobs.purge(older_than_days)} jobs purged")


@app.command()
def worker(
    name: Annotated[str | None, typer.Option(help="Default: the machine's name and a number.")] = None,
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = LOOPBACK,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Score the videos of jobs, until stopped; one worker for each GPU."""
    check_bundle(bundle)
    from headhunt_svc.jobs.worker import Worker

    Worker(bundle).run(name, metrics_port, metrics_address)


@app.command()
def batch(
    inputs: Inputs,
    out: Annotated[str, typer.Option(help="Folder or URI for results and tables.")],
    engine: Annotated[Literal["local", "ray"], typer.Option(help="In this process, or on a Ray cluster.")] = "local",
    actors: Annotated[int | None, typer.Option(min=1, help="Ray: how many; default: one for each GPU, or one.")] = None,
    operating_point: PointName = "f1",
    threshold: Threshold = None,
    smoothing: SmoothingMode = "offline",
    contributions: Contributions = False,
    stream: StreamNumber = None,
    describe: Describe = False,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Score an archive without a queue; a second run goes on where the first stopped."""
    options = JobOptions(**asdict(Options(operating_point, threshold, smoothing, contributions, stream, describe)))
    note_cautions(check_bundle(bundle, operating_point, smoothing).cautions)
    from headhunt_svc.jobs.batch import run
    from headhunt_svc.jobs.inputs import expand

    done = run(expand(inputs), out, bundle, options, engine, actors, note)
    note(f"{done.n_videos} videos, {done.n_failed} failed, {done.n_kept} were there before: {out}/rows")
    if done.n_failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _queue() -> "Jobs":
    """The queue, imported late because its libraries are slow to import."""
    from headhunt_svc.jobs.client import Jobs

    return Jobs()


def print_jobs(jobs: Sequence[Job]) -> None:
    """Prints one line for each job."""
    table = Table("job", "state", "done", "failed", "videos", "left", box=None, header_style="bold")
    for job in jobs:
        n = sum(job.counts.values())
        left = clock(job.eta_s) if job.eta_s is not None else "?"
        table.add_row(job.job_id, job.state, f"{job.percent:.0f} %", str(job.counts["failed"]), str(n), left)
    wide().print(table)


def print_job(job: Job) -> None:
    """Prints a job with its videos that have events, an error or a failed attempt."""
    console = Console(highlight=False, soft_wrap=True)
    counts = ", ".join(f"{n} {state}" for state, n in job.counts.items() if n)
    left = f", {clock(job.eta_s)} left" if job.eta_s else ""
    console.print(f"[bold]{job.job_id}[/bold]  {job.state}, {job.percent:.0f} %: {counts}{left}")
    for v in job.videos[:MOST_SHOWN]:
        problem = v.error or (f"attempt {v.trouble.attempt}: {v.trouble.reason}" if v.trouble else "")
        if problem or v.events:
            text = f"{v.events} events" if v.events else safe(problem)
            console.print(f"  {v.state:9}  {safe(v.video_id)}  {text}")
    if len(job.videos) > MOST_SHOWN:
        console.print(f"  and more: all are in `headhunt jobs results {job.job_id}`")


def print_deliveries(deliveries: Sequence[Delivery]) -> None:
    """Prints a job's webhooks."""
    for d in deliveries:
        note(f"{d.delivery_id}  {d.event}  {d.state}, {d.attempts} attempts" + (f": {d.error}" if d.error else ""))
