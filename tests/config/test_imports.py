"""Finding functions: beside the config first, and every failure as one clear error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rxpipe.config.imports import resolve
from rxpipe.errors import ConfigError

Write = Callable[[str, str], Path]

FORM = "allowed: module:function, like my_stages:generate, with dots for packages and attributes"


@pytest.fixture(autouse=True)
def _imports_undone() -> Iterator[None]:
    """Forgets the modules that a test imported, and the folders it put on the path."""
    path = list(sys.path)
    yield
    for name in [name for name in sys.modules if name.startswith("rx_")]:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a module into the config's folder."""

    def writing(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return writing


def refusal(target: str, beside: Path | None, where: str = "") -> str:
    with pytest.raises(ConfigError) as raised:
        resolve(target, beside, where=where)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


def test_a_function_beside_the_config(write: Write, tmp_path: Path) -> None:
    """A module in the config's folder is found wherever the process runs."""
    write("rx_stages.py", "def generate(x): return x + 1\n")

    assert resolve("rx_stages:generate", tmp_path)(1) == 2


def test_an_installed_function(tmp_path: Path) -> None:
    """A module that is not beside the config is looked for among the installed ones."""
    assert resolve("json:dumps", tmp_path) is json.dumps


def test_without_a_folder() -> None:
    """A config that is not from a file has installed functions only."""
    assert resolve("json:dumps") is json.dumps


def test_dots_reach_into_packages_and_classes(write: Write, tmp_path: Path) -> None:
    """Both sides of the colon may be dotted."""
    write("rx_package/__init__.py", "")
    write("rx_package/inner.py", "class Bank:\n    @staticmethod\n    def ask(): return 'asked'\n")

    assert resolve("rx_package.inner:Bank.ask", tmp_path)() == "asked"


def test_a_folder_without_init_is_a_package(write: Write, tmp_path: Path) -> None:
    """Namespace packages work as everywhere in Python."""
    write("rx_folder/inner.py", "def f(): return 'found'\n")

    assert resolve("rx_folder.inner:f", tmp_path)() == "found"


def test_the_folder_stays_first_on_the_path(write: Write, tmp_path: Path) -> None:
    """A function can import its neighbours when it is called, and a second look-up adds nothing."""
    write("rx_stages.py", "def generate():\n    import rx_neighbour\n    return rx_neighbour.VALUE\n")
    write("rx_neighbour.py", "VALUE = 3\n")

    generate = resolve("rx_stages:generate", tmp_path)
    resolve("rx_stages:generate", tmp_path)

    assert generate() == 3
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[0] == str(tmp_path)


def test_the_folder_of_the_last_config_is_first(write: Write, tmp_path: Path) -> None:
    """Two configs in turn leave one entry each, the last in front."""
    write("one/rx_one.py", "def f(): ...\n")
    write("two/rx_two.py", "def f(): ...\n")

    for folder in ("one", "two", "one"):
        resolve(f"rx_{folder}:f", tmp_path / folder)

    assert [entry for entry in sys.path if entry.startswith(str(tmp_path))] == [
        str(tmp_path / "one"),
        str(tmp_path / "two"),
    ]


def test_the_folder_stays_off_the_path_of_installed_functions(tmp_path: Path) -> None:
    """A folder without the module has no business on the path."""
    resolve("json:dumps", tmp_path)

    assert str(tmp_path) not in sys.path


def test_a_module_beside_wins_over_an_installed_one(write: Write, tmp_path: Path) -> None:
    """Of two modules of one name that are not loaded yet, the one beside the config is taken."""
    write("installed/rx_twice.py", "def which(): return 'installed'\n")
    write("config/rx_twice.py", "def which(): return 'beside'\n")
    sys.path.insert(0, str(tmp_path / "installed"))

    assert resolve("rx_twice:which", tmp_path / "config")() == "beside"


def test_a_module_beside_with_the_name_of_a_loaded_one_is_refused(write: Write, tmp_path: Path) -> None:
    """The loaded one is not what was meant, and must not be run in silence."""
    path = write("json.py", "def dumps(): ...\n")

    message = refusal("json:dumps", tmp_path)

    assert message == (
        f"json:dumps: the module 'json' of {path} cannot be imported, as another of that name is loaded "
        f"already, from {json.__file__}; give yours a name of its own"
    )


def test_a_data_folder_with_the_name_of_a_loaded_module_is_no_module(tmp_path: Path) -> None:
    """A plain folder never wins over a module, as everywhere in Python."""
    (tmp_path / "json").mkdir()

    assert resolve("json:dumps", tmp_path) is json.dumps


def test_a_module_written_after_a_failure_is_found(write: Write, tmp_path: Path) -> None:
    """The finders' lists of a folder are not trusted."""
    write("rx_first.py", "def f(): ...\n")
    resolve("rx_first:f", tmp_path)
    stamp = tmp_path.stat().st_mtime
    write("rx_second.py", "def f(): return 2\n")
    os.utime(tmp_path, (stamp, stamp))  # as if both were written within the clock's resolution

    assert resolve("rx_second:f", tmp_path)() == 2


@pytest.mark.parametrize(
    "target", ["", "generate", "stages:", ":generate", "a:b:c", "a b:c", ".a:b", "a..b:c", "a/b:c"]
)
def test_what_is_no_target(target: str) -> None:
    """What has no module, no colon or no function is told with the form that is allowed."""
    assert refusal(target, None) == f"given the text {target!r}; {FORM}"


def test_where_the_target_stands_comes_first() -> None:
    """The caller's file and key are at the front of every message."""
    message = refusal("generate", None, where="pipeline.yaml: stages[0].call")

    assert message == f"pipeline.yaml: stages[0].call: given the text 'generate'; {FORM}"


def test_a_missing_module_is_told_with_the_nearest(write: Write, tmp_path: Path) -> None:
    """The message says what is missing, where it was looked for, and what is there."""
    write("rx_stages.py", "")

    message = refusal("rx_stage:generate", tmp_path, where="pipeline.yaml: stages[0].call")

    assert message == (
        f"pipeline.yaml: stages[0].call: rx_stage:generate: no module 'rx_stage' in {tmp_path} or among "
        f"the installed ones; did you mean 'rx_stages'? {FORM}"
    )


def test_a_missing_module_without_a_folder() -> None:
    """Without a folder only installed modules were looked at."""
    message = refusal("rx_no_such_module:f", None)

    assert message == f"rx_no_such_module:f: no module 'rx_no_such_module' among the installed ones; {FORM}"


def test_a_missing_module_of_a_package(write: Write, tmp_path: Path) -> None:
    """In a package, its own modules are the ones that may be meant."""
    write("rx_package/__init__.py", "")
    write("rx_package/stages.py", "")

    message = refusal("rx_package.stage:f", tmp_path)

    assert message == (
        f"rx_package.stage:f: no module 'rx_package.stage' in the package 'rx_package'; did you mean 'stages'? {FORM}"
    )


def test_a_module_that_is_no_package(write: Write, tmp_path: Path) -> None:
    """A module has no modules in it."""
    write("rx_plain.py", "")

    message = refusal("rx_plain.inner:f", tmp_path)

    assert message == f"rx_plain.inner:f: no module 'rx_plain.inner' in 'rx_plain', which is no package; {FORM}"


def test_a_file_name_for_a_module(write: Write, tmp_path: Path) -> None:
    """A common slip: the module with its file's ending."""
    write("rx_stages.py", "def generate(): ...\n")

    message = refusal("rx_stages.py:generate", tmp_path)

    assert message == f"rx_stages.py:generate: no module 'rx_stages.py'; did you mean 'rx_stages'? {FORM}"


def test_a_module_that_imports_what_is_missing(write: Write, tmp_path: Path) -> None:
    """The module itself is there; the line that imports what is not is told."""
    path = write("rx_stages.py", "import json\nimport rx_no_such_module\n")

    assert refusal("rx_stages:generate", tmp_path) == (
        "rx_stages:generate: the module 'rx_stages' was found, but imports what is missing: "
        f"ModuleNotFoundError: No module named 'rx_no_such_module' ({path}, line 2)"
    )


@pytest.mark.parametrize(
    ("text", "raised", "line"),
    [
        ("x = 1\nraise ValueError('no key')\n", "ValueError: no key", 2),
        ("\n\ndef f(:\n", "SyntaxError: invalid syntax", 3),
        (
            "def f():\nreturn 1\n",
            "IndentationError: expected an indented block after function definition on line 1",
            2,
        ),
        ("import sys\nsys.exit('stop')\n", "SystemExit: stop", 2),
        ("import json\n\njson.loads('{')\n", "JSONDecodeError: Expecting property name", 3),
        ("from json import no_such_name\n", "ImportError: cannot import name 'no_such_name' from 'json'", 1),
        ("eval('1 +')\n", "SyntaxError: invalid syntax", 1),
        (
            "class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd\n",
            "Odd: (its text could not be read)",
            3,
        ),
        ("e = OSError('a\\nb')\ne.add_note('c')\nraise e\n", "OSError: a b", 3),
    ],
)
def test_a_module_that_raises(write: Write, tmp_path: Path, text: str, raised: str, line: int) -> None:
    """What was raised is told with the file and line of the user's own code that led to it."""
    path = write("rx_stages.py", text)

    message = refusal("rx_stages:f", tmp_path)

    assert message.startswith(f"rx_stages:f: the module 'rx_stages' was found, but importing it raised {raised}")
    assert message.endswith(f"({path}, line {line})")


def test_a_neighbour_that_raises(write: Write, tmp_path: Path) -> None:
    """The line is the neighbour's, as it is the user's own too."""
    write("rx_stages.py", "import rx_neighbour\n")
    path = write("rx_neighbour.py", "\n1 / 0\n")

    assert refusal("rx_stages:f", tmp_path).endswith(f"raised ZeroDivisionError: division by zero ({path}, line 2)")


def test_an_installed_module_that_raises(write: Write, tmp_path: Path) -> None:
    """The line is the module's own, and not that of the library which it called."""
    path = write("rx_installed.py", "import json\njson.loads('{')\n")
    sys.path.insert(0, str(tmp_path))

    assert refusal("rx_installed:f", None).endswith(f"({path}, line 2)")


def test_ctrl_c_while_importing_is_passed_on(write: Write, tmp_path: Path) -> None:
    """An interrupt is no fault of the config."""
    write("rx_stages.py", "raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        resolve("rx_stages:f", tmp_path)


def test_a_missing_function_is_told_with_the_nearest(write: Write, tmp_path: Path) -> None:
    """A misspelled function."""
    write("rx_stages.py", "def generate(): ...\n")

    assert refusal("rx_stages:generat", tmp_path) == (
        f"rx_stages:generat: the module 'rx_stages' has no 'generat'; did you mean 'generate'? {FORM}"
    )


def test_a_missing_function_is_told_with_what_there_is(write: Write, tmp_path: Path) -> None:
    """Without a near name the names that are there are listed."""
    write("rx_stages.py", "def generate(): ...\ndef grade(): ...\n")

    assert f"has no 'xyz'; it has generate, grade; {FORM}" in refusal("rx_stages:xyz", tmp_path)


def test_a_missing_method(write: Write, tmp_path: Path) -> None:
    """Attributes of attributes are named by their owner."""
    write("rx_stages.py", "class Bank:\n    def ask(self): ...\n")

    assert "'Bank' has no 'aks'; did you mean 'ask'?" in refusal("rx_stages:Bank.aks", tmp_path)


def test_a_module_whose_attributes_raise(write: Write, tmp_path: Path) -> None:
    """A module's own __getattr__ may fail in any way."""
    path = write("rx_stages.py", "def __getattr__(name):\n    if name == 'f': raise OSError('offline')\n")

    assert refusal("rx_stages:f", tmp_path) == (
        f"rx_stages:f: the module 'rx_stages' raised OSError: offline ({path}, line 2)"
    )


def test_what_cannot_be_called(write: Write, tmp_path: Path) -> None:
    """A constant is no stage."""
    write("rx_stages.py", "generate = [1, 2]\n")

    assert refusal("rx_stages:generate", tmp_path) == (
        "rx_stages:generate: it is of type list; allowed: something that can be called"
    )
