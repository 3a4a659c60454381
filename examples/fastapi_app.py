"""Serves a pipeline as a web app. Run `uvicorn fastapi_app:app`, then POST /questions/17. On SIGTERM it finishes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from rxpipe import DatabaseSink, Health, Outcome, Pipeline, RunStore, RxPipeError, Stage, Submission


async def answer(question_id: str) -> str:
    return await asyncio.sleep(0.05, f"{question_id!r} has {len(question_id)} letters")  # ask a model here


sink = DatabaseSink("sqlite:///web_questions.db")
pipeline = Pipeline(Stage("answering", answer, concurrency=16), sink=sink, store=RunStore(), scheduler="asyncio")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with pipeline.open(grace=20) as app.state.running:
        yield


app = FastAPI(lifespan=lifespan)


def shown(outcome: Outcome[object]) -> dict[str, object]:
    return {"id": outcome.id, "status": outcome.status, "value": outcome.value, "error": str(outcome.error or "")}


@app.post("/questions/{question_id}")
async def one(question_id: str, request: Request) -> dict[str, object]:
    return shown(await request.app.state.running.submit_nowait(question_id))


@app.post("/questions")
async def many(ids: list[str], request: Request) -> StreamingResponse:
    submissions = [request.app.state.running.submit(question_id) for question_id in ids]
    return StreamingResponse(events(submissions), media_type="text/event-stream")


async def events(submissions: Sequence[Submission]) -> AsyncGenerator[str]:
    for ended in asyncio.as_completed(submissions):
        yield f"event: outcome\ndata: {json.dumps(shown(await ended))}\n\n"


@app.get("/health")
async def health(request: Request, response: Response) -> Health:
    health: Health = request.app.state.running.health()
    response.status_code = 200 if health.status == "alive" else 503
    return health


@app.exception_handler(RxPipeError)  # Overloaded, PipelineClosed
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": f"{getattr(error, 'retry_after', 10):.0f}"})
