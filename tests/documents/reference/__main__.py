"""Write the generated files."""

from __future__ import annotations

from . import ROOT, generated

for name, text in generated().items():
    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(name)
