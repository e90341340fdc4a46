"""Fails when `makemessages` would change a catalogue, or when a compiled one is older than its text.

With --write it brings both up to date. Translate what is new, then run it with --write once more to compile.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import catalogues

ROOT = Path(__file__).resolve().parents[2]
COLLECT = [
    sys.executable, "manage.py", "makemessages", "--all", "--no-location", "--no-obsolete", "--no-wrap",
    "--ignore=.venv*", "--ignore=var", "--ignore=tests", "--ignore=benchmarks", "--ignore=staticfiles",
]  # fmt: skip


def main() -> int:
    write = "--write" in sys.argv
    if shutil.which("xgettext") is None:
        sys.stderr.write("sentences of the source not collected: GNU gettext is not installed\n")
        stale = []
    else:
        stale = collect(keep=write)
        if write:
            compile_all()
            return 0
    for path in stale:
        sys.stderr.write(
            f"{path.relative_to(ROOT)} is out of date: "
            "run `python -m tests.support.messages --write` and translate\n"
        )
    old = [path for path in catalogues.sources() if not catalogues.is_compiled(path)]
    for path in old:
        sys.stderr.write(
            f"{path.with_suffix('.mo').relative_to(ROOT)} does not say what its .po says: "
            "run `python -m tests.support.messages --write`\n"
        )
    sys.stdout.write(f"{len(catalogues.sources())} message catalogues checked\n")
    return 1 if stale or old else 0


def collect(*, keep: bool) -> list[Path]:
    """The catalogues that makemessages changes. Changes stay only if asked for, and never a mere new date."""
    before = {path: path.read_text() for path in catalogues.sources()}
    subprocess.run(COLLECT, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    stale = [path for path, text in before.items() if _undated(path.read_text()) != _undated(text)]
    for path, text in before.items():
        if path not in stale or not keep:
            path.write_text(text)
    return stale


def _undated(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith('"POT-Creation-Date')]


def compile_all() -> None:
    for path in catalogues.sources():
        target = path.with_suffix(".mo")
        subprocess.run(["msgfmt", "--check", "-o", str(target), str(path)], check=True)


if __name__ == "__main__":
    sys.exit(main())
