"""Whether the tests notice when the store lacks one of its checks: ``python -m tests.store.faults.mutants [WORD]``.

The tree is copied, one check at a time is taken out of the copy's source, and the tests that are to notice are run
with it. With a word, it is only those mutants whose file, or what they lack, has it in its name.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .change import Change, Mutation
from .mutations import mutations

ROOT = Path(__file__).resolve().parents[3]
COPIED = ("rxpipe", "operators", "tests", "pyproject.toml")
PATIENCE = 120.0  # seconds that the tests of one mutant may take
PASSED, FAILED = 0, 1  # pytest's exit codes


class Copy:
    """A copy of the tree."""

    def __init__(self, root: Path) -> None:
        """Make it."""
        self.root = root
        for name in COPIED:
            if (ROOT / name).is_dir():
                no_caches = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=no_caches)
            else:
                shutil.copy(ROOT / name, root / name)
        self._environment = os.environ | {"PYTHONPATH": str(root)}
        # By their contents: a change may leave a source's length, and the second, as they were.
        hashed = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(root, quiet=2, invalidation_mode=hashed)

    def check(self) -> None:
        """See that it is the copy that is imported."""
        code = "import rxpipe, rxpipe.operators as o, rxpipe.store as s; print(rxpipe.__file__, o.__file__, s.__file__)"
        files = self._run("-c", code).stdout.split()
        print(f"testing {files[0]}", flush=True)
        assert [file for file in files if not file.startswith(f"{self.root}/rxpipe/")] == []

    def test(self, *arguments: str) -> tuple[int, str]:
        """Run tests to the first that fails; pytest's exit code, and what it printed."""
        ran = self._run("-m", "pytest", "-q", "-x", "-rfE", "--tb=short", "-p", "no:cacheprovider", *arguments)
        return ran.returncode, ran.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        pipe, out = subprocess.PIPE, subprocess.STDOUT
        return subprocess.run(
            command,
            cwd=self.root,
            env=self._environment,
            stdout=pipe,
            stderr=out,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def killer(copy: Copy, mutation: Mutation) -> str | None:
    """The test that notices; None if there is none."""
    path = copy.root / mutation.file
    source = path.read_text()
    count = source.count(mutation.change.old)
    assert count == 1, f"{mutation.file} has {count} times, not once: {mutation.change.old}"
    path.write_text(source.replace(mutation.change.old, mutation.change.new))
    try:
        compile(path.read_text(), mutation.file, "exec")
        code, printed = copy.test(*arguments_of(mutation.change))
    finally:
        path.write_text(source)
    if code == PASSED:
        return None
    failed = re.search(r"^FAILED \S*/(\S+::\S+)", printed, re.MULTILINE)
    assert code == FAILED, printed
    assert failed is not None, printed
    return failed[1]


def arguments_of(change: Change) -> list[str]:
    """Which tests are to notice, as pytest takes it."""
    return [f"tests/store/{change.tests}", *(["-k", change.only] if change.only else [])]


def baseline(copy: Copy, chosen: list[Mutation]) -> None:
    """See that all tests that are to notice pass without a change."""
    files = sorted({f"tests/store/{mutation.change.tests}" for mutation in chosen})
    code, printed = copy.test(*files)
    print(f"{printed.splitlines()[-1]} without a change", flush=True)
    assert code == PASSED, printed


def main(word: str = "") -> int:
    """Try all of them; returns the exit code."""
    began = time.monotonic()
    chosen = [one for one in mutations() if word in one.file or word in one.change.lacks]
    survived = 0
    with tempfile.TemporaryDirectory(prefix="rxpipe-mutants-") as folder:
        copy = Copy(Path(folder))
        copy.check()
        baseline(copy, chosen)
        for mutation in chosen:
            test = killer(copy, mutation)
            survived += test is None
            what = f"{Path(mutation.file).name} without {mutation.change.lacks}"
            print(f"{what:<70} {f'killed by {test}' if test else 'SURVIVED'}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(chosen)} mutants, {len(chosen) - survived} killed, {survived} survived, in {seconds:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
