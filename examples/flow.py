"""Makes passages with embeddings of articles, with most shapes of a flow. flow.yaml is the same as a config."""

import csv
from pathlib import Path

from rxpipe import Batch, Drop, Pipeline, SendBack, Stage, feedback, from_records


def split(article: dict[str, str]) -> list[dict[str, str]]:  # expand: each passage becomes an item
    return [{"title": article["title"], "text": text} for text in article["text"].split(". ")]


def summarise(passage: dict[str, str]) -> dict[str, str]:  # stands for a call to a model
    if len(passage["text"]) < 20:
        raise Drop("too short")
    return {**passage, "summary": passage["text"][: feedback()]}


def embed(passages: list[dict[str, str]]) -> list[dict[str, object] | SendBack]:  # batch: one call for many passages
    texts = [one["summary"] for one in passages]  # send back: too long for the model
    return [{"text": one, "vector": [*one.encode()]} if len(one) <= 50 else SendBack("summary", 40) for one in texts]


if __name__ == "__main__":
    splitting = Stage("splitting", split, expand=True)
    summary = Stage("summary", summarise, concurrency=4)
    embedding = Stage("embedding", embed, batch=Batch(max_items=100), max_rounds=3)
    rows = csv.DictReader(Path(__file__).with_name("articles.csv").read_text(encoding="utf-8").splitlines())
    print(Pipeline(splitting, summary, embedding).run(from_records(rows, id="number"), until=10))  # exactly ten rows
