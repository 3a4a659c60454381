"""Makes a question bank with most shapes of a flow: items are expanded, dropped, sent back, collected, batched."""

from functools import partial

from rxpipe import Batch, Pipeline, Record, Stage
from rxpipe.devtools.fake_llm import serving
from rxpipe.llm import Provider
from rxpipe.questions import distinct, llm, majority, samples


def lengths(voted: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**one, "length": len(str(one["question"]))} for one in voted]  # stands for one call to a bulk API


if __name__ == "__main__":
    with serving() as server:
        main = Provider(model="fake-model", base_url=server.url)
        pipeline = Pipeline(
            Stage("planning", partial(samples, count=20), expand=True),  # twenty items of each record
            Stage("generation", partial(llm.generate, provider=main), concurrency=8),
            Stage("checking", partial(llm.check, provider=main), max_rounds=5),  # sends unclear ones back
            Stage("distinct", partial(distinct, state="question_flow.seen", threshold=0.5)),  # drops near-duplicates
            Stage("sampling", partial(samples, count=3), expand=True),
            Stage("answering", partial(llm.answer, provider=main), concurrency=8),
            Stage("voting", majority, collect=True),
            Stage("measuring", lengths, batch=Batch(max_items=20, max_seconds=0.05)),
        )
        print(pipeline.run([Record("a", {"topic": "fractions"}), Record("b", {"topic": "decimals"})]))
