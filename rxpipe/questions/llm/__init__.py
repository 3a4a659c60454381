"""A question bank that a language model fills: generate questions, check, answer and grade them.

- ``stages.py``: the stages ``generate``, ``generate_several``, ``check``, ``answer`` and ``grade``, coroutine functions
- ``values.py``: the values that go from stage to stage, ``Question``, ``Answered`` and ``Graded``
- ``languages.py``: the languages of the prompts
- ``prompts/``: the prompts in English, and in Chinese in ``zh/``. You can replace each by your own file with the same
  fields

Example::

    from functools import partial

    from rxpipe import Pipeline, Retry, Stage
    from rxpipe.llm import Provider
    from rxpipe.questions.llm import answer, generate, grade

    main = Provider(model="gpt-4.1-mini")
    calls = {"generation": partial(generate, topic="fractions"), "answering": answer, "grading": grade}
    pipeline = Pipeline(
        *(Stage(name, partial(call, provider=main), timeout=60, retry=Retry()) for name, call in calls.items())
    )
"""

from __future__ import annotations

from rxpipe.questions.llm.stages import answer, check, generate, generate_several, grade
from rxpipe.questions.llm.values import Answered, Graded, Question

__all__ = ["Answered", "Graded", "Question", "answer", "check", "generate", "generate_several", "grade"]
