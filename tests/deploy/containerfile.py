"""What ``deploy/Containerfile`` says, and how its program is started without a container engine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage of the build.

    Attributes:
        base: The image, or the stage, that it begins with.
        name: What other stages call it.
        steps: Its instructions in their order, each with what follows it.
    """

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def last(self, instruction: str) -> str:
        """What follows the last instruction of this name."""
        return [rest for name, rest in self.steps if name == instruction][-1]

    def command(self, instruction: str) -> list[str]:
        """The same, of one in exec form."""
        found: list[str] = json.loads(self.last(instruction).partition("CMD ")[2] or self.last(instruction))
        return found

    @property
    def environment(self) -> dict[str, str]:
        """All variables that it sets."""
        words = [word for name, rest in self.steps if name == "ENV" for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)


def stages(text: str) -> list[Stage]:
    """The stages of a Containerfile, with the defaults of its arguments."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for line in filter(str.strip, lines):
        name, _, rest = line.partition(" ")
        if name == "ARG":
            argument, _, default = rest.partition("=")
            arguments[argument] = default
        elif name == "FROM":
            base, _, alias = re.sub(r"\$\{(\w+)\}", lambda one: arguments[one[1]], rest).partition(" AS ")
            found.append(Stage(base=base, name=alias))
        else:
            found[-1].steps.append((name, rest.strip()))
    return found


def program_in_root(
    *, prefix: Path, packages: list[Path], data: Path, config: Path, command: list[str], environment: dict[str, str]
) -> list[str]:
    """A command line that has ``bwrap`` run a program as the image would: non-root, with a read-only root.

    Args:
        prefix: What is at ``/opt/rxpipe``.
        packages: Folders that the programs there need, read-only at their own places.
        data: What is at ``/data``; belongs to the user.
        config: The folder that is at ``/config``.
        command: The program, with its arguments.
        environment: All of its variables.
    """
    user, _, group = stages(CONTAINERFILE.read_text("utf-8"))[-1].last("USER").partition(":")
    shown = [*packages, *map(Path, ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"))]
    seen = [word for path in shown if path.exists() for word in ("--ro-bind", str(path), str(path))]
    places = [Path("/opt/rxpipe"), *(path for path in shown if path.exists())]
    parents = sorted(
        {parent for place in places for parent in place.parents} - {Path("/"), Path("/tmp")}
    )  # bwrap's own are root's only
    folders = [word for parent in parents for word in ("--perms", "0755", "--dir", str(parent))]
    variables = [word for name, value in environment.items() for word in ("--setenv", name, value)]
    return [
        *("bwrap", "--unshare-pid", "--as-pid-1", "--die-with-parent", "--clearenv", *variables),
        *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),  # for setpriv, which has none of them left
        *("--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp", *folders, *seen),
        *("--ro-bind", str(prefix), "/opt/rxpipe", "--ro-bind", str(config), "/config", "--bind", str(data), "/data"),
        *("--remount-ro", "/", "--chdir", "/data", "--"),
        *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"),
        *("--inh-caps=-all", "--", *command),
    ]
