"""A web app with a pipeline in its lifespan; SIGTERM drains it: `uvicorn fastapi_app:app`, then POST /questions/17."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from rxpipe import DatabaseSink, Outcome, Overloaded, Pipeline, PipelineClosed, RunStore, Stage


async def answer(question_id: str) -> dict[str, str]:
    await asyncio.sleep(0.05)  # a call to a language model, say
    return {"question": f"How many letters has {question_id!r}?", "answer": str(len(question_id))}


sink = DatabaseSink("sqlite:///web_questions.db")
pipeline = Pipeline(Stage("answering", answer, concurrency=16), sink=sink, store=RunStore(), scheduler="asyncio")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with pipeline.open(grace=20) as app.state.running:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/questions/{question_id}")
async def one(question_id: str, request: Request) -> dict[str, Any]:
    return shown(await request.app.state.running.submit_nowait(question_id))


@app.post("/questions", response_class=EventSourceResponse)
async def many(ids: list[str], request: Request) -> AsyncIterator[ServerSentEvent]:
    for ended in asyncio.as_completed([request.app.state.running.submit(one) for one in ids]):
        yield ServerSentEvent(event="outcome", data=shown(await ended))


def shown(outcome: Outcome[Any]) -> dict[str, Any]:
    return {"id": outcome.id, "status": outcome.status, "value": outcome.value}


@app.get("/health")
async def health(request: Request, response: Response) -> Any:
    found = request.app.state.running.health()
    response.status_code = 200 if found.status == "alive" else 503
    return found


@app.exception_handler(Overloaded)
@app.exception_handler(PipelineClosed)
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": f"{getattr(error, 'retry_after', 10):.0f}"})
