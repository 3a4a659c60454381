"""The kinds of question, one entry each: how to draw its numbers, how to solve it, and its wordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rxpipe.questions.arithmetic.numbers import Number, fraction, money, plain, remainder
from rxpipe.questions.arithmetic.wording import Facts, Wording
from rxpipe.questions.arithmetic.words import UNITS, Dice


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of question.

    Attributes:
        name: The name of the kind, in `Question.kind`.
        draw: Draws numbers for all number slots. With these numbers the question makes sense and comes out even.
        solve: Returns the answer from the numbers and words of a question. Raises a ValueError or an ArithmeticError if
            they make no sense together, which may happen with a text from elsewhere.
        wordings: Ways to word the question. All have the same number slots and ask for the same thing.
    """

    name: str
    draw: Callable[[Dice], Mapping[str, Number]]
    solve: Callable[[Facts], str]
    wordings: tuple[Wording, ...]


def _kind(
    name: str, draw: Callable[[Dice], Mapping[str, Number]], solve: Callable[[Facts], str], *templates: str
) -> Kind:
    return Kind(name, draw, solve, tuple(Wording(template) for template in templates))


def _sharing(dice: Dice) -> Mapping[str, Number]:
    by = dice(2, 9)
    return {"a": by * dice(2, 12) + dice(0, by - 1), "b": by}


def _part(dice: Dice) -> Mapping[str, Number]:
    part = Fraction(dice(1, 4), dice(5, 8))
    return {"a": part.denominator * dice(2, 12), "p": part.numerator, "q": part.denominator}


def _two_parts(dice: Dice) -> Mapping[str, Number]:
    # Both fractions are less than a half, so that something is left.
    (p, q), (r, s) = (Fraction(dice(1, (n - 1) // 2), n).as_integer_ratio() for n in (dice(3, 9), dice(3, 9)))
    return {"p": p, "q": q, "r": r, "s": s}


def _change(dice: Dice) -> Mapping[str, Number]:
    count, cents = dice(2, 9), 5 * dice(5, 180)
    total = Fraction(count * cents, 100)
    return {
        "n": count,
        "price": Fraction(cents, 100),
        "note": next(n for n in (5, 10, 20, 50, 100) if n > total),
    }


def _average(dice: Dice) -> Mapping[str, Number]:
    middle, first, second = dice(12, 40), dice(-5, 5), dice(-5, 5)
    return {"a": middle + first, "b": middle + second, "c": middle - first - second}


def _journey(dice: Dice) -> Mapping[str, Number]:
    speed, halves = 2 * dice(20, 50), dice(2, 14)
    return {"d": speed * halves // 2, "v": speed}


def _workers(dice: Dice) -> Mapping[str, Number]:
    workers, days, factor = dice(2, 6), dice(2, 9), dice(2, 4)
    return {"a": workers, "b": days * factor, "c": workers * factor}


def _two_steps(dice: Dice) -> Mapping[str, Number]:
    boxes, each = dice(2, 9), dice(4, 24)
    return {"a": boxes, "b": each, "c": dice(1, boxes * each - 1)}


def _converted(facts: Facts) -> str:
    (measure, size), (other, unit) = UNITS[facts.words["large"]], UNITS[facts.words["small"]]
    if measure != other:
        raise ValueError(f"a {measure} is no {other}")
    return plain(facts["a"] * size / unit)


def _next(facts: Facts) -> str:
    a, b, c, d = (facts[slot] for slot in "abcd")
    if not b - a == c - b == d - c:
        raise ValueError("the numbers of the row are not equally far apart")
    return plain(d + d - c)


def _row(dice: Dice) -> Mapping[str, Number]:
    start, step = dice(1, 40), dice(2, 15)
    return {slot: start + step * index for index, slot in enumerate("abcd")}


# The order of the entries, the draws and the words decide which question an ID gives. Any change changes all questions.
KINDS = (
    _kind(
        "sum",
        lambda dice: {"a": dice(1, 99), "b": dice(2, 99)},
        lambda facts: plain(facts["a"] + facts["b"]),
        "{who} has {a:item} and gets {b} more. How many {items} does {who} have now?",
        "{who} collects {a:item} and {friend} collects {b}. How many {items} do they collect in all?",
        "A shop sells {a:item} in the morning and {b} in the afternoon. How many {items} is that in all?",
    ),
    _kind(
        "difference",
        lambda dice: {"a": dice(40, 99), "b": dice(2, 39)},
        lambda facts: plain(facts["a"] - facts["b"]),
        "{who} has {a:item} and gives {b} to {friend}. How many {items} does {who} have left?",
        "{who} has {a:item} and {friend} has {b}. How many more {items} does {who} have than {friend}?",
        "A shop has {a:item} and sells {b}. How many {items} does it have left?",
    ),
    _kind(
        "product",
        lambda dice: {"a": dice(2, 12), "b": dice(2, 40)},
        lambda facts: plain(facts["a"] * facts["b"]),
        "{who} buys {a:box} with {b:item} in each. How many {items} does {who} buy?",
        "Each {box} holds {b:item}. How many {items} do {a:box} hold?",
        "{who} reads {b:page} a day for {a:day}. How many pages does {who} read in all?",
    ),
    _kind(
        "sharing",
        _sharing,
        lambda facts: remainder(facts["a"], facts["b"]),
        "{who} shares {a:item} equally among {b} friends. How many does each get, and how many are left?",
        "{who} packs {a:item} into {boxes} of {b}. How many {boxes} are full, and how many {items} are left?",
        "A shop puts {a:item} into rows of {b}. How many rows are full, and how many {items} are left over?",
    ),
    _kind(
        "fraction",
        _part,
        lambda facts: plain(facts["a"] * Fraction(facts["p"], facts["q"])),
        "{who} has {a:item} and gives {p}/{q} of them to {friend}. How many {items} does {friend} get?",
        "{who} has {a:item}, and {p}/{q} of them are small. How many small {items} does {who} have?",
        "A shop has {a:item} and sells {p}/{q} of them. How many {items} does it sell?",
    ),
    _kind(
        "remaining_fraction",
        _two_parts,
        lambda facts: fraction(1 - Fraction(facts["p"], facts["q"]) - Fraction(facts["r"], facts["s"])),
        "{who} eats {p}/{q} of a {dish}, and {friend} eats {r}/{s}. What fraction of the {dish} is left?",
        "{who} paints {p}/{q} of a wall, and {friend} paints {r}/{s}. What fraction is not yet painted?",
    ),
    _kind(
        "percentage",
        lambda dice: {"a": 20 * dice(2, 30), "p": 5 * dice(1, 19)},
        lambda facts: plain(facts["a"] * Fraction(facts["p"], 100)),
        "A school has {a:pupil}, and {p}% of them walk to school. How many pupils walk to school?",
        "{who} has {a:item} and sells {p}% of them. How many {items} does {who} sell?",
        "In a box of {a:item}, {p}% are small. How many {items} are small?",
    ),
    _kind(
        "discount",
        lambda dice: {"price": Fraction(dice(50, 500), 5), "p": 5 * dice(1, 15)},
        lambda facts: money(facts["price"] * Fraction(100 - facts["p"], 100)),
        "A {garment} costs {price:$}. In a sale it is {p}% cheaper. How many dollars is the sale price?",
        "{who} buys a {garment} priced at {price:$} and gets {p}% off. How many dollars does {who} pay?",
    ),
    _kind(
        "change",
        _change,
        lambda facts: money(facts["note"] - facts["n"] * facts["price"]),
        "{who} buys {n:item} at {price:$} each and pays with {note:$}. How many dollars is the change?",
        "Each {item} costs {price:$}. {who} buys {n} and pays with {note:$}. How many dollars is the change?",
    ),
    _kind(
        "spending",
        lambda dice: {slot: Fraction(dice(100, 3000), 100) for slot in "abc"},
        lambda facts: money(facts["a"] + facts["b"] + facts["c"]),
        "{who} spends {a:$} on lunch, {b:$} on a book and {c:$} on a gift. How many dollars is that in all?",
        "A {garment} costs {a:$}, a bag {b:$} and a {dish} {c:$}. How many dollars do they cost together?",
    ),
    _kind(
        "distance",
        lambda dice: {"v": dice(12, 120), "t": dice(1, 9)},
        lambda facts: plain(facts["v"] * facts["t"]),
        "A {vehicle} travels at {v} km/h for {t:hour}. How many kilometres does it travel?",
        "{who} rides at {v} km/h for {t:hour}. How many kilometres does {who} ride?",
    ),
    _kind(
        "speed",
        lambda dice: {"t": (hours := dice(1, 9)), "d": hours * dice(12, 120)},
        lambda facts: plain(Fraction(facts["d"], facts["t"])),
        "A {vehicle} travels {d} km in {t:hour}. What is its average speed in km/h?",
        "{who} rides {d} km in {t:hour}. How many kilometres an hour is that on average?",
    ),
    _kind(
        "duration",
        _journey,
        lambda facts: plain(Fraction(facts["d"], facts["v"])),
        "A {vehicle} travels {d} km at {v} km/h. How many hours does it take?",
        "{who} drives {d} km at a steady {v} km/h. How many hours does {who} drive?",
    ),
    _kind(
        "conversion",
        lambda dice: {"a": Fraction(dice(1, 40), 2)},
        _converted,
        "How many {smalls} are there in {a:large}?",
        "Convert {a:large} to {smalls}.",
        "{who} must write {a:large} in {smalls}. What number does {who} write?",
    ),
    _kind(
        "average",
        _average,
        lambda facts: plain(Fraction(facts["a"] + facts["b"] + facts["c"], 3)),
        "{who} scores {a}, {b} and {c} in three games. What is the average score?",
        "On three days it is {a}, {b} and {c} degrees warm. What is the average temperature in degrees?",
    ),
    _kind(
        "area",
        lambda dice: {"a": (length := dice(12, 60)), "b": dice(2, length)},
        lambda facts: plain(facts["a"] * facts["b"]),
        "A rectangular {plot} is {a} m long and {b} m wide. What is its area in square metres?",
        "A rectangular floor measures {a} m by {b} m. How many square metres of carpet cover it?",
    ),
    _kind(
        "perimeter",
        lambda dice: {"a": (length := dice(12, 60)), "b": dice(2, length)},
        lambda facts: plain(2 * (facts["a"] + facts["b"])),
        "A rectangular {plot} is {a} m long and {b} m wide. How many metres of fence go around it?",
        "A rectangle measures {a} m by {b} m. What is its perimeter in metres?",
    ),
    _kind(
        "age",
        lambda dice: {"a": dice(4, 40), "b": dice(1, 30), "c": dice(1, 20)},
        lambda facts: plain(facts["a"] + facts["b"] + facts["c"]),
        "{who} is {a:year} old and {friend} is {b:year} older. How old will {friend} be in {c:year}?",
        "{who} is {a:year} old, {b:year} younger than {friend}. How old will {friend} be {c:year} from now?",
    ),
    _kind(
        "ages",
        lambda dice: {"k": (times := dice(2, 6)), "s": (times + 1) * dice(3, 14)},
        lambda facts: plain(Fraction(facts["s"], facts["k"] + 1)),
        "{who} is {k} times as old as {friend}. Together they are {s:year} old. How old is {friend}?",
        "The ages of {who} and {friend} add up to {s}, and {who} is {k} times as old. How old is {friend}?",
    ),
    _kind(
        "two_steps",
        _two_steps,
        lambda facts: plain(facts["a"] * facts["b"] - facts["c"]),
        "{who} buys {a:box} of {b:item} and gives {c} away. How many {items} does {who} have left?",
        "A shop gets {a:box} of {b:item} and sells {c} of them. How many {items} are not sold?",
    ),
    _kind(
        "workers",
        _workers,
        lambda facts: plain(Fraction(facts["a"] * facts["b"], facts["c"])),
        "{a:worker} can build a wall in {b:day}. How many days does it take {c:worker}?",
        "{who} has food for {a:goat} for {b:day}. How many days does it last {c:goat}?",
    ),
    _kind(
        "sequence",
        _row,
        _next,
        "What number comes next in the row {a}, {b}, {c}, {d}?",
        "{who} counts {a}, {b}, {c}, {d}. What number does {who} say next?",
    ),
)
