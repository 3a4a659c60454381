"""Commands that install optional packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

_REQUIREMENT = re.compile(r"""(?P<package>[^;]*[^; ]) *; *extra *== *["'](?P<extra>\w+)["']""")
_OWN = re.compile(r"rxpipe\[(?P<extras>[\w,]+)\]")


def install(extra: str) -> str:
    """Returns a command that installs the packages of an extra, and the command for rxpipe's own folder.

    The first command names the packages, not rxpipe. So it works in any folder, and for any way of installing rxpipe.
    The package called rxpipe on PyPI is another project. If the packages are unknown, only the second command is given.
    """
    packages, own = list(dict.fromkeys(_packages(extra))), f'pip install ".[{extra}]"'
    if not packages:
        return own
    return "pip install " + " ".join(f'"{package}"' for package in packages) + f" (in rxpipe's folder: {own})"


def _packages(extra: str) -> Iterator[str]:
    try:
        found = [match for text in requires("rxpipe") or () if (match := _REQUIREMENT.fullmatch(text))]
    except PackageNotFoundError:  # rxpipe is not installed, but imported from a checkout
        found = []
    for match in found:
        if match["extra"] != extra:
            continue
        if own := _OWN.fullmatch(match["package"]):
            for other in own["extras"].split(","):
                yield from _packages(other)
        else:
            yield match["package"]
