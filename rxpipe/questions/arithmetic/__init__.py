"""An arithmetic question bank that needs no network and no key: three plain functions, ready to be stages.

- `values`: what travels from stage to stage, `Question`, `Answered`, `Graded`, and `UnreadableQuestion`
- `bank`: the stages `generate` and `answer`
- `grading`: the stage `grade`
- `kinds`: the table of the kinds of question; a new kind is one more entry
- `wording`: templates that write a question and read it back
- `numbers`: exact numbers, read from text and written as text
- `words`: the names, things and units that questions speak of

Example::

    from rxpipe import Pipeline, Stage
    from rxpipe.questions.arithmetic import answer, generate, grade

    stages = Stage("generation", generate), Stage("answering", answer), Stage("grading", grade)
    report = Pipeline(*stages).run(range(100))
"""

from __future__ import annotations

from rxpipe.questions.arithmetic.bank import answer, generate
from rxpipe.questions.arithmetic.grading import grade
from rxpipe.questions.arithmetic.values import Answered, Graded, Question, UnreadableQuestion

__all__ = ["Answered", "Graded", "Question", "UnreadableQuestion", "answer", "generate", "grade"]
