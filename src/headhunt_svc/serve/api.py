"""The routes under /v1: parse, ask the engine, answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from headhunt_svc.core.scoring import contributions
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.report import Report, coarser
from headhunt_svc.errors import HeadHuntError
from headhunt_svc.serve import jobs
from headhunt_svc.serve.bodies import json_body, parsed
from headhunt_svc.serve.engine import Engine, Work
from headhunt_svc.serve.models import (
    DetectByUri,
    DetectOptions,
    DetectorCard,
    Progress,
    Score,
    ScoredSegment,
    SegmentFrames,
)
from headhunt_svc.serve.openapi import document
from headhunt_svc.serve.problems import Problem, of_error
from headhunt_svc.serve.uploads import UploadError, receive_video
from headhunt_svc.serve.uris import UriError, fetch

GONE_POLL_S = 0.5


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"


async def _video(request: Request, work: Work) -> tuple[Path, str, DetectOptions]:
    """The video of a request as a file, its name, and the options."""
    engine: Engine = request.app.state.engine
    try:
        if _is_json(request):
            asked = parsed(DetectByUri, await work.wait(json_body(request)))
            path = await work.wait(fetch(asked.uri, work.folder, engine.settings))
            return path, asked.video_id or path.name, asked
        got = await work.wait(receive_video(request, work.folder, engine.settings.max_upload_bytes))
    except UploadError as exc:
        raise Problem(exc.status, "upload", str(exc)) from exc
    except UriError as exc:
        raise Problem(422, "uri", str(exc)) from exc
    options = parsed(DetectOptions, {**request.query_params, **got.options})
    return got.path, options.video_id or got.filename or "video", options


async def _hung_up(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(GONE_POLL_S)


def _named(exc: HeadHuntError, path: Path, name: str) -> Problem:
    """The problem of an error, told of the name that the client knows."""
    problem = of_error(exc)
    problem.detail = problem.detail.replace(str(path), name)
    return problem


def _finished(report: Report, options: DetectOptions) -> Report:
    return report if options.resolution_s is None else coarser(report, options.resolution_s)


def _timing(work: Work) -> str:
    return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in work.seconds.items())


async def _report_of(items: AsyncIterator[ScoredBatch | Report]) -> Report:
    """The last item."""
    async for item in items:
        if isinstance(item, Report):
            return item
    raise RuntimeError("a scoring ended without a report")


async def detect(request: Request) -> Response:
    """POST /v1/detect."""
    engine: Engine = request.app.state.engine
    async with engine.admitted() as work:
        path, name, options = await _video(request, work)
        try:
            batches = engine.detect(work, path, name, options.of_detector, options.camera)
            scored = asyncio.ensure_future(_report_of(batches))
            gone = asyncio.ensure_future(_hung_up(request))
            both: tuple[asyncio.Future[Any], ...] = (scored, gone)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not scored.done():
                scored.cancel()
                raise Problem(408, "gone", "the client hung up")
            report = _finished(await scored, options)
        except HeadHuntError as exc:
            raise _named(exc, path, name) from exc
        headers = {"Server-Timing": _timing(work)}
        return Response(report.model_dump_json(), media_type="application/json", headers=headers)


def _event(kind: str, body: BaseModel) -> bytes:
    return f"event: {kind}\ndata: {body.model_dump_json()}\n\n".encode()


def _progress(batch: ScoredBatch) -> Progress:
    rows = zip(batch.segments, batch.raw.tolist(), strict=True)
    segments = tuple(
        ScoredSegment(index=s.segment.index, start_s=s.start_s, stop_s=s.stop_s, raw=raw) for s, raw in rows
    )
    return Progress(scored_s=batch.stop_s, segments=segments)


async def _stream(request: Request) -> AsyncIterator[bytes]:
    """The events; what goes wrong before the first is raised, what goes wrong later is the last event."""
    engine: Engine = request.app.state.engine
    begun = False
    async with engine.admitted() as work:
        path, name, options = await _video(request, work)
        try:
            async for item in engine.detect(work, path, name, options.of_detector, options.camera):
                if isinstance(item, Report):
                    yield _event("report", _finished(item, options))
                else:
                    begun = True
                    yield _event("scores", _progress(item))
        except (HeadHuntError, Problem) as exc:
            problem = exc if isinstance(exc, Problem) else _named(exc, path, name)
            if not begun:
                raise problem from exc
            yield _event("error", problem.body)


async def stream(request: Request) -> Response:
    """POST /v1/detect/stream."""
    events = _stream(request)
    first = await anext(events)

    async def all_events() -> AsyncIterator[bytes]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(all_events(), media_type="text/event-stream", headers=headers)


async def score(request: Request) -> Response:
    """POST /v1/score."""
    engine: Engine = request.app.state.engine
    if not _is_json(request):
        raise Problem(415, "upload", "send the frames as application/json")
    asked = parsed(SegmentFrames, await json_body(request))
    cut = engine.loaded().bundle.segmentation
    try:
        pictures = asked.pictures(cut.frames_per_segment)
    except ValueError as exc:
        raise Problem(422, "frames", str(exc)) from exc

    scored = await engine.score(pictures, asked.fps)
    detector = engine.loaded()
    shares = contributions(detector.scorer, scored.features)[0]
    answer = Score(detector_id=detector.detector_id, raw=float(scored.raw[0]), contributions=tuple(shares.tolist()))
    return Response(answer.model_dump_json(), media_type="application/json")


async def detector_card(request: Request) -> Response:
    """GET /v1/detector."""
    engine: Engine = request.app.state.engine
    detector = engine.loaded()
    made = detector.bundle
    card = DetectorCard(
        detector_id=detector.detector_id,
        code=detector.code,
        mllm=made.mllm.id,
        mllm_revision=made.mllm_revision,
        dtype=made.mllm.dtype,
        prompt=made.prompt,
        heads=made.heads,
        frames_per_segment=made.segmentation.frames_per_segment,
        segmentation=made.segmentation.model_dump(mode="json"),
        operating_points=made.operating_points,
        fingerprint=made.fingerprint,
        data=made.data,
        test_metrics=_test_metrics(engine.bundle, detector.detector_id),
    )
    return Response(card.model_dump_json(), media_type="application/json")


def _test_metrics(bundle: Path, detector_id: str) -> dict[str, Any] | None:
    """metrics.json of this very detector, if it lies in or beside the bundle."""
    for path in (bundle / "metrics.json", bundle.parent / "metrics.json"):
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found.get("detector_id") == detector_id:
                return found
    return None


async def openapi(request: Request) -> Response:
    """GET /v1/openapi.json."""
    return JSONResponse(document())


async def _problem(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return exc.response()


async def _error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HeadHuntError)
    return of_error(exc).response()


async def _http(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    way_out = "see /v1/openapi.json"
    return Problem(exc.status_code, "route", f"{exc.detail}: {way_out}", exc.headers).response()


def app() -> Starlette:
    """The application; its state gets the engine."""
    return Starlette(
        routes=[
            Route("/detect", detect, methods=["POST"]),
            Route("/detect/stream", stream, methods=["POST"]),
            Route("/score", score, methods=["POST"]),
            Route("/detector", detector_card, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            *jobs.routes(),
        ],
        exception_handlers={Problem: _problem, HeadHuntError: _error, HTTPException: _http},
    )
