"""The verbs of batch jobs: `headhunt jobs ...`, `headhunt worker`, `headhunt batch`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from headhunt_svc import paths
from headhunt_svc.errors import EXIT_SOME_FAILED

jobs_app = typer.Typer(no_args_is_help=True, help="Batch jobs that survive anything (docs/jobs.md).")
JobId = Annotated[str, typer.Argument(help="The job's id.")]
Inputs = Annotated[list[str], typer.Argument(help="Videos, folders, globs, manifests (.csv, .jsonl), URIs.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="The detector bundle.")]
PointName = Annotated[str, typer.Option(help="Name of a (sigma, tau) in the bundle.")]
Attribution = Annotated[bool, typer.Option("--attribution", help="Keep what each head adds, for every segment.")]
WATCH_S = 1.0


@jobs_app.command()
def submit(
    inputs: Inputs,
    operating_point: PointName = "f1",
    threshold: Annotated[float | None, typer.Option(help="Instead of the operating point's: 0 to 1.")] = None,
    attribution: Attribution = False,
    priority: Annotated[int, typer.Option(min=1, max=10_000, help="Lower is sooner.")] = 100,
    webhook: Annotated[str | None, typer.Option(help="URL to tell of events and of the end.")] = None,
    key: Annotated[str, typer.Option(help="Another key makes another job of the same request.")] = "",
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Put videos into the queue; prints the job's id. The same request again is the same job."""
    from headhunt_svc.jobs.client import Jobs
    from headhunt_svc.jobs.models import JobOptions, JobRequest

    options = JobOptions(
        operating_point=operating_point, threshold=threshold, smoothing="offline", attribution=attribution
    )
    absolute = tuple(i if ":" in i else str(Path(i).absolute()) for i in inputs)
    request = JobRequest(inputs=absolute, options=options, priority=priority, webhook=webhook, key=key)
    with Jobs() as jobs:
        typer.echo(jobs.submit(request, bundle))


@jobs_app.command("list")
def list_jobs() -> None:
    """All jobs, the newest first."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.client import Jobs

    with Jobs() as jobs:
        show.jobs(jobs.all())


@jobs_app.command("show")
def show_job(job_id: JobId, json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False) -> None:
    """State of a job, its errors and events."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.client import Jobs

    with Jobs() as jobs:
        found = jobs.show(job_id)
        if json:
            typer.echo(found.model_dump_json())
            return
        show.job(found)
        show.deliveries(jobs.deliveries(job_id))


@jobs_app.command()
def watch(job_id: JobId) -> None:
    """Wait until a job ends; exit code 3 where videos failed."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.client import DONE, Jobs

    told = ""
    with Jobs() as jobs:
        while (found := jobs.show(job_id)).state not in DONE:
            if (now := f"{found.state}, {found.percent:.0f} %") != told:
                left = f", {show.clock(found.eta_s)} left" if found.eta_s else ""
                show.note((told := now) + left)
            time.sleep(WATCH_S)
        show.job(found)
    if found.state != "succeeded":
        raise typer.Exit(EXIT_SOME_FAILED)


@jobs_app.command()
def cancel(job_id: JobId) -> None:
    """Stop a job; what is done stays."""
    from headhunt_svc.jobs.client import Jobs

    with Jobs() as jobs:
        jobs.cancel(job_id)


@jobs_app.command()
def retry(job_id: JobId) -> None:
    """Run failed and cancelled videos again."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.client import Jobs

    with Jobs() as jobs:
        show.note(f"{jobs.retry(job_id)} videos run again")


@jobs_app.command()
def results(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="A .parquet file; without it JSON lines are printed.")] = None,
) -> None:
    """What is there so far: one row for each video that is done, errors included."""
    from headhunt_svc.jobs.client import Jobs
    from headhunt_svc.jobs.rows import save_parquet

    with Jobs() as jobs:
        if out is not None:
            save_parquet(out, jobs.rows(job_id, only_done=True))
            return
        for line in jobs.json_lines(job_id, only_done=True):
            typer.echo(line)


@jobs_app.command()
def purge(
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Default: HEADHUNT_JOBS_KEEP_DAYS.")] = None,
) -> None:
    """Forget finished jobs, and results that no other job names."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.client import Jobs

    with Jobs() as jobs:
        show.note(f"{jobs.purge(older_than_days)} jobs purged")


def worker(
    name: Annotated[str | None, typer.Option(help="Default: the machine's name and a number.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve Prometheus metrics here.")] = None,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Score the videos of jobs, until stopped; one worker for each GPU."""
    from headhunt_svc.jobs.worker import Worker

    Worker(bundle).run(name, metrics_port)


def batch(
    inputs: Inputs,
    out: Annotated[str, typer.Option(help="Folder or URI for results and tables.")],
    engine: Annotated[Literal["local", "ray"], typer.Option(help="In this process, or on a Ray cluster.")] = "local",
    actors: Annotated[int | None, typer.Option(min=1, help="Ray: how many; default: one for each GPU, or one.")] = None,
    operating_point: PointName = "f1",
    attribution: Attribution = False,
    bundle: BundleFolder = paths.BUNDLE,
) -> None:
    """Score an archive without a queue; goes on where it stopped."""
    from headhunt_svc.cli import show
    from headhunt_svc.jobs.batch import run
    from headhunt_svc.jobs.inputs import expand
    from headhunt_svc.jobs.models import JobOptions

    options = JobOptions(operating_point=operating_point, threshold=None, smoothing="offline", attribution=attribution)
    done = run(expand(inputs), out, bundle, options, engine, actors, show.note)
    show.note(f"{done.n_videos} videos, {done.n_failed} failed, {done.n_kept} were there before: {out}/rows")
    if done.n_failed:
        raise typer.Exit(EXIT_SOME_FAILED)
