"""An arithmetic question bank that needs no network and no key: three plain functions, ready to be stages.

- ``values.py``: the values that go from stage to stage, `Question`, `Answered`, `Graded`, and `UnreadableQuestion`
- ``bank.py``: the stages `generate` and `answer`
- ``grading.py``: the stage `grade`
- ``kinds.py``: the table of the kinds of question; a new kind is one more entry
- ``wording.py``: templates that write a question and read it back
- ``numbers.py``: exact numbers, read from text and written as text
- ``words.py``: the names, things and units in questions

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
