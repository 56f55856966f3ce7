"""The application under /v1: typed routes, their documents by FastAPI."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic.alias_generators import to_camel
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.responses import Response

from headhunt_svc.core.background import check_live
from headhunt_svc.detector.report import Report, coarser
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.names import printable
from headhunt_svc.serve import events, jobs
from headhunt_svc.serve.engine import Engine, Video, Work
from headhunt_svc.serve.models import DetectOptions, DetectorCard, Score, ScoredSegment, ScoredSegments, SegmentFrames
from headhunt_svc.serve.openapi import DETECT_BODY, EVENT_NAMES, EVENTS, Application, answer, problems
from headhunt_svc.serve.problems import HANDLERS, Problem, ProblemBody, problem_of
from headhunt_svc.serve.requests import CurrentEngine, LimitedRoute, video_of
from headhunt_svc.storage.json_text import parse_json

if TYPE_CHECKING:
    from headhunt_svc.detector.batches import ScoredBatch

T = TypeVar("T")
GONE_POLL_S = 0.5
FROM_BUNDLE = {"mllm_revision", "prompt", "heads", "segmentation", "operating_points", "fingerprint", "data", "cameras"}
REFUSALS = problems(400, 408, 413, 415, 422, 429, 504, 507)
router = APIRouter(route_class=LimitedRoute)


async def _hung_up(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(GONE_POLL_S)


async def _unless_gone(request: Request, result: Awaitable[T]) -> T:
    """Await a result; cancel it when the client hangs up. Raises Problem (408)."""
    task, gone = asyncio.ensure_future(result), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(408, "gone", "the client hung up")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait((task,))  # its own clean-up


async def _detect(engine: Engine, work: Work, video: Video) -> AsyncGenerator[ScoredSegments | Report, None]:
    """Score a video: its segments as they are scored, and last its report. Errors name it as the client does."""
    resolution_s = video.options.resolution_s
    try:
        async with aclosing(engine.detect(work, video)) as items:
            async for item in items:
                if isinstance(item, Report):
                    yield item if resolution_s is None else coarser(item, resolution_s)
                else:
                    yield _scored_segments(item)
    except HeadHuntError as exc:
        problem = problem_of(exc)
        problem.detail = problem.detail.replace(printable(str(video.path)), video.name)
        raise problem from exc


def _scored_segments(batch: "ScoredBatch") -> ScoredSegments:
    rows = zip(batch.segments, batch.raw.tolist(), strict=True)
    segments = (ScoredSegment(index=s.segment.index, start_s=s.start_s, stop_s=s.stop_s, raw=raw) for s, raw in rows)
    return ScoredSegments(scored_s=batch.stop_s, segments=tuple(segments))


async def _report(items: AsyncGenerator[ScoredSegments | Report, None]) -> Report:
    """The last item."""
    async with aclosing(items):
        (report,) = [item async for item in items if isinstance(item, Report)]
    return report


@router.post("/detect", responses=REFUSALS, openapi_extra=DETECT_BODY)
async def detect(
    request: Request, response: Response, engine: CurrentEngine, query: Annotated[DetectOptions, Query()]
) -> Report:
    """Score a video; the answer is its report."""
    async with engine.admitted() as work:
        video = await video_of(request, query, engine, work)
        report = await _unless_gone(request, _report(_detect(engine, work, video)))
        times = (f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in work.seconds.items())
        response.headers["Server-Timing"] = ", ".join(times)
        return report


def _event(item: ScoredSegments | Report | ProblemBody) -> ServerSentEvent:
    return ServerSentEvent(item.model_dump_json(), event=EVENT_NAMES[type(item)], sep="\n")


async def _events(
    request: Request, engine: Engine, query: DetectOptions
) -> AsyncGenerator[ServerSentEvent | None, None]:
    """None when the first event is known, then the events; a problem before is raised, a later one is an event."""
    check_live(engine.loaded().scorer.background, "a stream of scores")
    async with engine.admitted() as work:
        video = await video_of(request, query, engine, work)
        async with aclosing(_detect(engine, work, video)) as items:
            first = await _unless_gone(request, anext(items))  # later it is the response that watches the client
            yield None
            try:
                yield _event(first)
                async for item in items:
                    yield _event(item)
            except Problem as exc:
                yield _event(exc.body)


@router.post(
    "/detect/stream",
    response_class=EventSourceResponse,
    responses=answer(200, "Events `scores`, then one `report` or `error`.", **{"text/event-stream": {"type": "string"}})
    | REFUSALS,
    openapi_extra=DETECT_BODY | EVENTS,
)
async def detect_stream(
    request: Request, engine: CurrentEngine, query: Annotated[DetectOptions, Query()]
) -> EventSourceResponse:
    """Score a video; the answer is a stream of server-sent events, one for each batch of segments."""
    events = _events(request, engine, query)
    await anext(events)  # a problem before the first event is an HTTP status
    return EventSourceResponse(events, sep="\n")


@router.post("/score", responses=problems(400, 408, 413, 415, 422, 429))
async def score(frames: SegmentFrames, engine: CurrentEngine) -> Score:
    """Score one segment from its frames, and say what each head adds to the logit."""
    check_live(engine.loaded().scorer.background, "the score of one segment")
    segmentation = engine.loaded().bundle.segmentation
    try:
        pictures = frames.pictures(segmentation.frames_per_segment)
    except ValueError as exc:
        raise Problem(422, "frames", str(exc)) from exc

    detector, batch = await engine.score(pictures, frames.fps, frames.camera)
    return Score(
        detector_id=detector.detector_id,
        raw=float(batch.raw[0]),
        contributions=tuple(batch.contributions[0].tolist()),
        normality=detector.normality,
        correction=detector.correction,
    )


@router.get("/detector")
async def detector(engine: CurrentEngine) -> DetectorCard:
    """Which detector answers, and how good it is."""
    detector, in_use = engine.loaded(), engine.in_use
    bundle, candidate = detector.bundle, None if in_use is None else in_use.now.candidate
    return DetectorCard(
        detector_id=detector.detector_id,
        code=detector.code,
        mllm=bundle.mllm.id,
        dtype=bundle.mllm.dtype,
        describes=detector.describes,
        candidate=None if candidate is None else candidate.detector_id,
        refused={} if in_use is None else {str(role): why for role, why in in_use.refused.items()},
        frames_per_segment=bundle.segmentation.frames_per_segment,
        cautions=bundle.cautions,
        test_metrics=_test_metrics(engine.bundle, detector.detector_id),
        **bundle.model_dump(mode="json", include=FROM_BUNDLE),
    )


def _test_metrics(bundle: Path, detector_id: str) -> dict[str, Any] | None:
    """metrics.json of this very detector, if it lies in or beside the bundle."""
    for path in (bundle / "metrics.json", bundle.parent / "metrics.json"):
        with suppress(OSError, ValueError):
            metrics = parse_json(path.read_text(encoding="utf-8"))
            if isinstance(metrics, dict) and metrics.get("detector_id") == detector_id:
                return metrics
    return None


def create_app() -> Application:
    """The application to mount at /v1; put an Engine into `app.state.engine`."""
    AppStatus.enable_automatic_graceful_drain = False  # the engine ends streams, with an event that says why
    app = Application(
        title="headhunt-svc",
        version="1",
        description="Anomalous events in video, from the attention heads of a frozen multimodal LLM.",
        servers=[{"url": "/v1"}],
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: to_camel(route.name),
        responses=problems(401, 403, 503),
        exception_handlers=HANDLERS | jobs.HANDLERS | events.HANDLERS,
    )
    app.include_router(router)
    app.include_router(jobs.router)
    app.include_router(events.router)
    return app
