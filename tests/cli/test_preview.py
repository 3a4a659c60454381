"""`rxpipe preview`: a look at what is said, which writes nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rxpipe.devtools.fake_llm import Behaviour, serving

from .program import Ended, refused, rxpipe

BANK = """
providers: {{fake: {{base_url: "{url}", model: fake-model, prices: {{prompt: 1000, completion: 2000}}}}}}
stages:
  - {{name: generation, call: "rxpipe.questions.llm:generate", with: {{provider: fake, topic: fractions}}}}
  - {{name: answering, call: "rxpipe.questions.llm:answer", with: {{provider: fake}}}}
  - {{name: grading, call: "rxpipe.questions.llm:grade", with: {{provider: fake}}}}
pipeline_config: {{retry: {{initial: 0}}}}
source: {{range: 50}}
database: {{url: "sqlite:///{folder}/questions.db"}}
scheduler: {scheduler}
"""
OWN = """
stages: [{{name: own, call: "own_stages:{function}"}}]
source: {{range: 9}}
pipeline_config: {{retry: {{initial: 0}}}}
"""
DISTINCT = """
stages:
  - {{name: writing, call: "own_stages:write"}}
  - {{name: distinct, call: "rxpipe.questions:distinct", with: {{state: texts.seen}}}}
source: {{range: 9}}
"""
FUNCTIONS = r"""
calls = []

def plain(value):
    print("printed")
    return {"twice": value * 2}

def raising(value):
    raise ValueError("no \x1b[31mgood\x07 <b>")

def promising(value):
    async def later():
        return f"later {value}"
    return later()

def odd(value):
    return object

def dropping(value):
    from rxpipe import Drop
    return Drop("too odd")

def sending_back(value):
    from rxpipe import SendBack
    raise SendBack("own", "once more", or_drop=True)

def slow(value):
    import time
    time.sleep(0.03)
    return value

def long(value):
    return "x" * 30_000 + "END"

class Word:
    text = "word"

def wording(value):
    return Word()

def wrong(value):
    return value["text"]

def parts(value):
    from rxpipe.pipeline.transcript import Exchange, note
    note(Exchange(messages=[{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant"}], reply="Hello!"))
    return value
"""


def written(folder: Path, text: str, **fields: str) -> Path:
    path = folder / "preview.yaml"
    path.write_text(text.format(folder=folder, **fields), encoding="utf-8")
    return path


def preview_own(folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, count: int = 1) -> Ended:
    (folder / "own_stages.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    return rxpipe("preview", written(folder, OWN, function=function), "--count", str(count))


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_all_that_is_said_is_shown(tmp_path: Path, scheduler: str) -> None:
    """Item by item and stage by stage: prompts, replies, inputs and outputs."""
    with serving(Behaviour()) as server:
        ended = rxpipe("preview", written(tmp_path, BANK, url=server.url, scheduler=scheduler), "--count", "2")
        assert server.stats()["calls"] == 6
    assert ended.code == 0
    shown = ended.out.split("item 2: ID 2")
    assert len(shown) == 2
    for part in shown:
        stages = [part.index(f"\n{name}, ") for name in ("generation", "answering", "grading")]
        assert stages == sorted(stages)
        for what in ("topic: fractions", '{"question":', "<question>", "<reference>", '"verdict": ', '"score": '):
            assert what in part
    assert '"reference"' not in shown[0].split("\nanswering, ")[1].split("user:")[1].split("output (Answered):")[0]


@pytest.mark.slow
def test_nothing_is_written(tmp_path: Path) -> None:
    """No database, and no file beside the config."""
    with serving(Behaviour()) as server:
        config = written(tmp_path, BANK, url=server.url, scheduler="asyncio")
        assert rxpipe("preview", config, "--count", "1").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["preview.yaml"]


def test_texts_that_were_seen_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of a preview is no duplicate of one of a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_stages.py").write_text("def write(value):\n    return {'question': 'Why is that so?'}\n")
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    ended = rxpipe("preview", written(tmp_path, DISTINCT), "--count", "2")
    assert (ended.out.count("dropped:"), ended.code) == (1, 0)
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"own_stages.py", "preview.yaml"}


def test_what_all_would_take_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a few calls, so the interval is wide; not where all is over in a moment."""
    ended = preview_own(tmp_path, monkeypatch, "slow", count=2)
    assert "would take" not in ended.out
    many = OWN.replace("range: 9", "range: 9000")
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    ended = rxpipe("preview", written(tmp_path, many, function="slow"), "--count", "2")
    found = re.search(r"9,000 items would take about ([\d.]+) s \(([\d.]+) s to ([\d.]+) (s|min)\)", ended.out)
    assert found is not None
    assert float(found[2]) <= float(found[1]) >= 90.0  # at least 30 ms each, three at a time


@pytest.mark.slow
def test_what_all_would_use_is_told(tmp_path: Path) -> None:
    """From what these did: tokens, and what they cost."""
    with serving(Behaviour()) as server:
        ended = rxpipe("preview", written(tmp_path, BANK, url=server.url, scheduler="asyncio"), "--count", "1")
        stats = server.stats()
    tokens = stats["prompt_tokens"] + stats["completion_tokens"]
    assert f"50 items would use about {tokens * 50:,} tokens, cost " in ended.out


@pytest.mark.slow
def test_each_attempt_is_shown(tmp_path: Path) -> None:
    """What the server said to the first ones, too."""
    with serving(Behaviour(invalid=1.0)) as server:
        ended = rxpipe("preview", written(tmp_path, BANK, url=server.url, scheduler="asyncio"), "--count", "1")
    assert ended.code == 1
    assert ended.out.count("\ngeneration, ") == 3
    assert ended.out.count("InvalidOutput: fake: ") == 3 + 1  # and once more at the end
    assert "1 item, 1 failed" in ended.out


def test_errors_come_last_and_nothing_is_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the class of what a stage gave, and which stages were not called."""
    (tmp_path / "own_stages.py").write_text(FUNCTIONS)
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    stages = ", ".join(f'{{name: {name}, call: "own_stages:{name}"}}' for name in ("wording", "wrong", "plain"))
    config = f"stages: [{stages}]\nsource: {{range: 9000}}\npipeline_config: {{retry: {{initial: 0}}}}\n"
    (tmp_path / "preview.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    ended = rxpipe("preview", tmp_path / "preview.yaml", "--count", "2")
    assert "  output (Word):" in ended.out
    assert ended.out.splitlines()[-3:] == [
        "2 items, 2 failed; nothing was written",
        "plain was called with 0 of 2",
        "2 items failed in wrong: TypeError: 'Word' object is not subscriptable",
    ]


def test_functions_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they print is no part of it."""
    ended = preview_own(tmp_path, monkeypatch, "plain", count=2)
    assert ended.code == 0
    assert '"twice": 4' in ended.out
    assert "printed" not in ended.out
    assert "2 items; nothing was written" in ended.out


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does markup mean anything."""
    ended = preview_own(tmp_path, monkeypatch, "raising")
    assert ended.code == 1
    assert r"ValueError: no \x1b[31mgood\x07 <b>" in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.parametrize(
    ("function", "told"),
    [("dropping", "  dropped:\n    too odd\n"), ("sending_back", '  sent back to own:\n    "once more"\n')],
)
def test_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, told: str) -> None:
    """What a function decides about an item is shown as that, and is no failure."""
    ended = preview_own(tmp_path, monkeypatch, function)
    assert ended.code == 0
    assert told in "\n".join(line.rstrip() for line in ended.out.splitlines()) + "\n"
    assert "1 item, 1 dropped; nothing was written" in ended.out


def test_a_function_that_returns_something_to_await(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes of that is shown, once."""
    ended = preview_own(tmp_path, monkeypatch, "promising")
    assert ended.out.count("\nown, ") == 1
    assert '"later 1"' in ended.out


def test_a_value_that_is_no_data_is_shown_as_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As well as can be."""
    assert "<class 'object'>" in preview_own(tmp_path, monkeypatch, "odd").out


def test_a_text_that_is_far_too_long_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that finds no end is not to fill the terminal."""
    ended = preview_own(tmp_path, monkeypatch, "long")
    assert 20_000 < len(ended.out) < 21_000
    assert "END" not in ended.out
    assert "(10,005 characters more)" in ended.out


def test_messages_may_have_any_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, or none, as in calls of users' own."""
    ended = preview_own(tmp_path, monkeypatch, "parts")
    assert ended.code == 0
    assert '"text": "Hi"' in ended.out
    assert "  assistant:\n    null\n" in ended.out


def test_a_config_that_cannot_be_used_is_one_message(tmp_path: Path) -> None:
    """And nothing is called."""
    path = written(tmp_path, "stages: [{{name: a, call: 'rxpipe.questions.llm:generate'}}]")
    assert "stages[0].with: the function needs the argument provider" in refused("preview", path)


FLOW = """
source: {{{source}}}
stages:
  - {{name: splitting, call: "own_stages:{function}", expand: true}}
  - {{name: joining, call: "own_stages:join", batch: 10}}
  - {{name: judging, call: "own_stages:judge"}}
"""
FLOW_FUNCTIONS = """
import itertools, reactivex
from rxpipe import Drop, Record

def records():
    return (Record(f"r{n}", {"text": "t"}) for n in itertools.count(1))

def many(value):
    return [{"n": n} for n in range(1_000)]

def endless(value):
    for n in itertools.count():
        yield {"n": n}

async def endless_async(value):
    for n in itertools.count():
        yield {"n": n}

async def later(value):
    return ({"n": n} for n in itertools.count())

def observable(value):
    return reactivex.of(*({"n": n} for n in range(1_000)))

def join(values):
    return values

def judge(value):
    return Drop("the first") if value["n"] == 0 else value

def total(children):
    return len(children)
"""


def preview_flow(folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, text: str = FLOW) -> Ended:
    (folder / "own_stages.py").write_text(FLOW_FUNCTIONS, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    source = 'call: "own_stages:records"'
    return rxpipe("preview", written(folder, text, function=function, source=source), "--count", "2")


@pytest.mark.parametrize("function", ["many", "endless", "endless_async", "later", "observable"])
def test_a_few_children_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Of lists, iterators, async iterators and Observables, and of an endless source."""
    ended = preview_flow(tmp_path, monkeypatch, function)
    assert ended.code == 0
    told = "first 3 of 1,000 children" if function == "many" else "first 3 children, there are more"
    assert ended.out.count(f"  output, {told}:") == 2
    assert "2 items, 6 spawned, 2 dropped; nothing was written" in ended.out


PAID = """
source: {{range: 10}}
stages:
  - {{name: splitting, call: "own_stages:{function}", expand: true}}
  - {{name: asking, call: "own_stages:paid"}}
  - {{name: adding, call: "own_stages:paid_total", collect: true}}
"""


@pytest.mark.parametrize(
    ("function", "estimate"),
    [
        # Of each item: 1,000 children of which each uses 10 tokens, and 7 for all; or as many children as were seen.
        ("many", "10 items would use about 100,070 tokens"),
        ("endless", "10 items with 3 children each would use about 370 tokens"),
    ],
)
def test_the_estimate_counts_all_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, estimate: str
) -> None:
    """Not the first few alone, where it is known how many there are."""
    paid = """
from rxpipe import Usage, record_usage

def paid(value):
    record_usage(Usage(prompt_tokens=10))
    return value

def paid_total(children):
    record_usage(Usage(prompt_tokens=7))
    return len(children)
"""
    (tmp_path / "own_stages.py").write_text(FLOW_FUNCTIONS + paid, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    ended = rxpipe("preview", written(tmp_path, PAID, function=function), "--count", "2")
    assert ended.code == 0
    assert estimate in ended.out


def test_calls_and_ends_of_children_are_told_by_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those that share a call."""
    lines = [line.strip() for line in preview_flow(tmp_path, monkeypatch, "many").out.splitlines()]
    assert [line.strip("─ ") for line in lines if "item " in line] == ["item 1: ID r1", "item 2: ID r2"]
    for start in ("joining of r1/0, r1/1, r1/2, ", "judging of r1/1, "):
        assert any(line.startswith(start) for line in lines)
    assert {"r1/0 dropped: the first", "r1/1 would be written"} <= set(lines)


def test_what_became_of_children_is_shown_where_they_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As data, not as an object."""
    text = FLOW + '  - {{name: adding, call: "own_stages:total", collect: true}}\n'
    out = preview_flow(tmp_path, monkeypatch, "many", text).out
    assert '"why": "the first"' in out.split("adding, ")[1]
