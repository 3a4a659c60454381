"""Distributions of seconds, as users write them."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.distributions import (
    Constant,
    Distribution,
    Empirical,
    Exponential,
    Lognormal,
    Uniform,
    parse_distribution,
)

SECONDS = st.floats(0, 1e9)
ABOVE_ZERO = st.floats(1e-6, 1e3)
SHARES = st.floats(1e-12, 1 - 1e-12)


@st.composite
def uniforms(draw: st.DrawFn) -> Distribution:
    low, high = sorted([draw(SECONDS), draw(SECONDS)])
    return Uniform(low, high)


@st.composite
def lognormals(draw: st.DrawFn) -> Lognormal:
    median = draw(ABOVE_ZERO)
    return Lognormal(median, median * draw(st.floats(1.001, 1000)))


PARAMETRIC: st.SearchStrategy[Distribution] = st.one_of(
    SECONDS.map(Constant), uniforms(), ABOVE_ZERO.map(Exponential), lognormals()
)
MEASURED = st.lists(SECONDS, min_size=1).map(lambda found: Empirical("seconds.txt", tuple(sorted(found))))


@given(st.one_of(PARAMETRIC, MEASURED), SHARES, SHARES)
def test_draws_never_fall_as_the_share_grows(distribution: Distribution, one: float, other: float) -> None:
    """And are seconds, never below 0."""
    low, high = (distribution.at(share) for share in sorted([one, other]))
    assert 0 <= low <= high < math.inf


@given(PARAMETRIC)
def test_a_text_gives_an_equal_value(distribution: Distribution) -> None:
    """To the last digit."""
    assert parse_distribution(distribution.text) == distribution


@given(lognormals())
def test_median_and_p95_are_hit(distribution: Lognormal) -> None:
    """Half of all draws are below the median, 95% below the p95."""
    assert distribution.at(0.5) == pytest.approx(distribution.median)
    assert distribution.at(0.95) == pytest.approx(distribution.p95)


@given(st.one_of(ABOVE_ZERO.map(Exponential), st.floats(1.1, 5).map(lambda p95: Lognormal(1, p95)), uniforms()))
def test_the_mean_is_that_of_evenly_spread_draws(distribution: Distribution) -> None:
    """But for what little is beyond the last of them."""
    draws = [distribution.at((index + 0.5) / 2000) for index in range(2000)]
    assert math.fsum(draws) / 2000 == pytest.approx(distribution.mean, rel=0.01)


@given(MEASURED)
def test_each_measured_number_is_as_likely_as_any_other(distribution: Empirical) -> None:
    """So evenly spread draws are the numbers, and their mean is the mean."""
    count = len(distribution.seconds)
    draws = tuple(distribution.at((index + 0.5) / count) for index in range(count))
    assert draws == distribution.seconds
    assert distribution.mean == pytest.approx(math.fsum(draws) / count)


def test_the_last_measured_number_ends_the_range() -> None:
    """Also where the share times the count is rounded up to the count."""
    assert Empirical("seconds.txt", (1.0, 2.0, 3.0)).at(math.nextafter(1, 0)) == 3


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("0.3", Constant(0.3)),
        (".5", Constant(0.5)),
        ("1e-3", Constant(0.001)),
        ("0", Constant(0)),
        ("constant(0.3)", Constant(0.3)),
        ("constant(seconds=0.3)", Constant(0.3)),
        ("0.1-0.5", Uniform(0.1, 0.5)),
        (".5-1", Uniform(0.5, 1)),
        ("uniform(0.1, 0.5)", Uniform(0.1, 0.5)),
        ("uniform(high=0.5, low=0.1)", Uniform(0.1, 0.5)),
        ("exponential(mean=2)", Exponential(2)),
        ("exponential(2)", Exponential(2)),
        (" lognormal ( median = 2.1 , p95 = 6 ) ", Lognormal(2.1, 6)),
        ("lognormal(2.1, p95=6)", Lognormal(2.1, 6)),
    ],
)
def test_what_may_be_written(text: str, distribution: Distribution) -> None:
    """Blanks do not matter, and parameters may go without their names."""
    assert parse_distribution(text) == distribution


def test_texts_are_short() -> None:
    """As one would write them."""
    written = "constant(3)", "uniform(0.1, 0.5)", "exponential(mean=2)", "lognormal(median=2.1, p95=6)"
    assert [parse_distribution(text).text for text in written] == list(written)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is no distribution; allowed: seconds like 0.2, a range of them like 0.1-0.5, constant(0.3), "),
        ("fast", "'fast' is no distribution; allowed: seconds like 0.2"),
        ("1_0", "'1_0' is no distribution"),
        ("٣", "'٣' is no distribution"),
        ("1-", "'1-' is no distribution"),
        ("normal(1, 2)", "'normal' is no distribution; allowed: seconds like 0.2"),
        ("lognormal(2", "'lognormal(2' is no distribution"),
        ("0.5-0.1", "uniform: high is 0.1; allowed: 0.5 or more"),
        ("-1", "constant: seconds is -1; allowed: seconds from 0 to 1,000,000,000"),
        ("nan", "constant: seconds is nan; allowed: seconds from 0"),
        ("inf", "constant: seconds is inf; allowed: seconds from 0"),
        ("9" * 400, "constant: seconds is inf; allowed: seconds from 0"),
        ("constant()", "constant needs seconds; allowed: constant(0.3)"),
        ("constant(1, 2)", "constant has no parameter for '2'; allowed: constant(0.3)"),
        ("uniform(0.1)", "uniform needs high; allowed: uniform(0.1, 0.5)"),
        ("uniform(0.1, low=0.5)", "uniform has 'low' twice; allowed: uniform(0.1, 0.5)"),
        ("uniform(-1, 2)", "uniform: low is -1; allowed: seconds from 0"),
        ("exponential(rate=2)", "exponential has no parameter for 'rate=2'; allowed: exponential(mean=2)"),
        ("exponential(mean=)", "exponential: mean is ''; allowed: a number of seconds, as in exponential(mean=2)"),
        ("exponential(0)", "exponential: mean is 0; allowed: seconds above 0"),
        ("lognormal(median=1)", "lognormal needs p95; allowed: lognormal(median=2.1, p95=6)"),
        ("lognormal(p95=6)", "lognormal needs median; allowed: lognormal(median=2.1, p95=6)"),
        ("lognormal()", "lognormal needs median and p95; allowed: lognormal(median=2.1, p95=6)"),
        ("lognormal(0, 1)", "lognormal: median is 0; allowed: seconds above 0"),
        ("lognormal(2, 2)", "lognormal: p95 is 2; allowed: more than its median, 2, and at most 1,000,000 times that"),
        ("lognormal(1e-9, 1)", "lognormal: p95 is 1; allowed: more than its median, 1e-09"),
        ("lognormal(2, nan)", "lognormal: p95 is nan; allowed: seconds from 0"),
    ],
)
def test_what_is_no_distribution_is_one_sentence(text: str, told: str) -> None:
    """It says what is wrong, and what is allowed."""
    with pytest.raises(ConfigError) as raised:
        parse_distribution(text)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["# seconds\n3\n\n1e0  # the least\n2.5\n", "[3, 1, 2.5]", " [\n3,\n1, 2.5]\n"])
def test_a_file_has_a_number_a_line_or_a_list(tmp_path: Path, content: str) -> None:
    """Blank lines and comments are skipped."""
    file = tmp_path / "seconds, measured (1).txt"
    file.write_text(content, "utf-8")
    distribution = parse_distribution(f"empirical({file})")
    assert distribution == Empirical(str(file), (1.0, 2.5, 3.0))
    assert parse_distribution(distribution.text) == distribution


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no number; allowed: a file with one number of seconds a line, or a JSON list of them"),
        (b"# none\n\n", "has no number"),
        (b"[]", "has no number"),
        (b"1\n\nfast\n", "line 3 of "),
        (b"1\n-2\n", "line 2 of "),
        (b"1\nnan\n", "line 2 of "),
        (b"[1, true]", "number 2 of "),
        (b'[1, 2, "3"]', "number 3 of "),
        (b"[1, NaN]", "number 2 of "),
        (b"[1,\n2,\n", "is no JSON, at line 3"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1" + b"0" * 5000 + b"]", "is no JSON"),
        (b"[1" + b"0" * 400 + b"]", "number 1 of "),
        (b"\xff\xfe", "it is no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes, told: str) -> None:
    """It says where in the file the trouble is."""
    file = tmp_path / "seconds.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        parse_distribution(f"empirical({file})")
    assert told in str(raised.value)
    assert str(file) in str(raised.value)
    assert "; allowed: " in str(raised.value)


@pytest.mark.parametrize("name", ["missing.txt", ".", "\0"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    """It is not there, it is a folder, or there cannot be such a file."""
    with pytest.raises(ConfigError, match=r"^empirical: cannot read .*; allowed: a file with one number"):
        parse_distribution(f"empirical({tmp_path / name})")


def test_a_distribution_is_a_value() -> None:
    """It may be a key, and go to other processes."""
    one = Lognormal(2.1, 6)
    assert {one: 1}[pickle.loads(pickle.dumps(one))] == 1
    assert one != Lognormal(2.1, 7)
