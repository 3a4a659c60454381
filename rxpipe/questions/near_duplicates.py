"""The stage that drops questions which resemble an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rxpipe.pipeline.decisions import Drop, item_id
from rxpipe.questions.inputs import Same, WrongInput, record, takes
from rxpipe.questions.seen_texts import Likeness, seen_in


@takes("question", named_by={"question": "field"}, gives=lambda _: Same, module="rensa", extra="distinct")
def distinct(
    question: Any,
    *,
    state: str | Path,
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8,
    shingle: Annotated[int, Field(ge=1, le=100)] = 3,
    field: str = "question",
) -> Any:
    """Drops a question whose text resembles that of an earlier one, and remembers the text of any other.

    ::

        Stage("distinct", partial(distinct, state="questions.seen"))

    Two texts resemble each other by the Jaccard index of their shingles: the share of the pieces of ``shingle``
    characters that are in both. Case, white space and widths of characters do not count.

    The file remembers which item had which text, and is committed before the function returns. So an item is never
    compared with itself, also when it is done again after a kill. If it comes with another text, because it was sent
    back, that replaces the first one. Threads and processes may share the file. Use another one for another bank, or
    delete it before you begin anew. ``rxpipe preview`` and ``rxpipe compare`` work on copies of the file.

    Items keep their ID by being in a pipeline. In another process, and in a batch, it is the field ``id``.

    Args:
        question: The question, or a record with the field ``field``; it is returned as it is.
        state: An SQLite file, which is made if it is missing.
        threshold: How alike two texts must be, from 0 to 1, for the later one to be dropped.
        shingle: Characters in a shingle: 3 for most texts, 2 for short ones in Chinese or Japanese.
        field: The field with the text.

    Raises:
        Drop: Its text resembles an earlier one.
        StopRun: The file cannot be used, or the extra ``distinct`` is not installed.
        WrongInput: The value is not usable, or nobody knows its ID.
    """
    known = record(question, distinct, {"field": field})
    own = item_id()
    own = known.get("id") if own is None else own
    if own is None:
        raise WrongInput("distinct needs the item's ID: outside of a pipeline's own process, a field 'id'")
    seen = seen_in(Path(state), Likeness(threshold=threshold, shingle=shingle))
    if not seen.keep(json.dumps(own), str(known[field])):
        raise Drop("near-duplicate")
    return question
