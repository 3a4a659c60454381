"""The server's texts in Chinese: questions of arithmetic that it writes, and reads back to answer them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rxpipe.questions.arithmetic.words import Dice

UNKNOWN = "我不知道"
NOT_ENOUGH = "题目没有给出作答所需的全部条件。"
CLEAR = "题目给出了作答所需的全部条件，题意清楚。"
NOTHING_TO_COMPARE = "没有参考答案或考生答案，无法比较。"
BEFORE, AFTER = "这是你要的内容：\n\n```json\n", "\n```\n\n如有其他需要，请告诉我。"

_HAN = re.compile(r"[\u4e00-\u9fff]")
_COUNT = re.compile(r"([0-9]{1,3}) ?(?:道|个)")
_SLOT = re.compile(r"\{(\w+)\}")
_NAMES = ("小明", "小红", "小刚", "小丽", "小华", "小芳", "小军", "小燕")
_ITEMS = ("个苹果", "支铅笔", "本书", "张邮票", "颗糖果", "枚硬币", "朵花", "个气球")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of question: its text, the numbers that it draws, and its answer."""

    text: str
    draw: Callable[[Dice], Mapping[str, int]]
    solve: Callable[[Mapping[str, int]], Fraction]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern that reads the text back, with a group for each number."""
        parts = _SLOT.split(self.text)
        found = "".join(re.escape(one) if place % 2 == 0 else _expression(one) for place, one in enumerate(parts))
        return re.compile(found)


def _expression(slot: str) -> str:
    return r".{1,8}?" if slot in ("who", "item") else rf"(?P<{slot}>[0-9]+)"


_KINDS = (
    _Kind(
        "{who}有{a}{item}，又得到{b}{item}。{who}现在一共有多少{item}？",
        lambda dice: {"a": dice(2, 90), "b": dice(2, 90)},
        lambda n: Fraction(n["a"] + n["b"]),
    ),
    _Kind(
        "{who}有{a}{item}，送给同学{b}{item}。{who}还剩多少{item}？",
        lambda dice: {"a": dice(40, 99), "b": dice(2, 39)},
        lambda n: Fraction(n["a"] - n["b"]),
    ),
    _Kind(
        "每盒装{a}{item}，{who}买了{b}盒。{who}一共买了多少{item}？",
        lambda dice: {"a": dice(3, 24), "b": dice(2, 12)},
        lambda n: Fraction(n["a"] * n["b"]),
    ),
    _Kind(
        "{who}把{a}{item}平均分给{b}个同学。每个同学得到多少{item}？",
        lambda dice: {"b": (by := dice(2, 9)), "a": by * dice(3, 20)},
        lambda n: Fraction(n["a"], n["b"]),
    ),
    _Kind(
        "{who}有{a}{item}，其中的{p}%送给了同学。{who}送出了多少{item}？",
        lambda dice: {"a": 20 * dice(2, 30), "p": 5 * dice(1, 19)},
        lambda n: Fraction(n["a"] * n["p"], 100),
    ),
    _Kind(
        "{who}骑车每小时行{a}千米，骑了{b}小时。{who}一共行了多少千米？",
        lambda dice: {"a": dice(9, 30), "b": dice(2, 9)},
        lambda n: Fraction(n["a"] * n["b"]),
    ),
)
_PATTERNS = [(kind.pattern, kind) for kind in _KINDS]


def is_chinese(text: str) -> bool:
    """Returns True if a text has Chinese characters."""
    return _HAN.search(text) is not None


def asked_for(text: str, otherwise: int) -> int:
    """Returns how many questions a message asks for: ``请写出 5 道不同的题``."""
    said = _COUNT.search(text)
    return int(said[1]) if said else otherwise


def generate(key: str) -> tuple[str, str]:
    """Returns the question of a key and its answer, always the same ones."""
    dice = Dice(f"chinese {key}")
    kind = dice.pick(_KINDS)
    numbers = kind.draw(dice)
    words = {"who": dice.pick(_NAMES), "item": dice.pick(_ITEMS)}
    return kind.text.format(**numbers, **words), str(kind.solve(numbers))


def answer(question: str) -> str | None:
    """Returns the answer to a question, from its text alone; None if the wording is unknown, or there is no answer."""
    for pattern, kind in _PATTERNS:
        if (found := pattern.fullmatch(question.strip())) is not None:
            try:
                return str(kind.solve({name: int(number) for name, number in found.groupdict().items()}))
            except ZeroDivisionError:
                return None
    return None


def ambiguous(question: str) -> str:
    """Returns why a question may be taken for unclear."""
    return f"这句话可以有两种理解：{question[:20]}"


def compared(given: str, reference: str, *, right: bool) -> str:
    """Returns the reason of a grade."""
    return f"答案 {given} 与参考答案 {reference} {'一致' if right else '不一致'}。"
