"""Fails when `makemessages` would change a catalogue: a sentence was added, changed or removed without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "locale"
COMMAND = [
    sys.executable, "manage.py", "makemessages", "--all", "--no-location", "--no-obsolete", "--no-wrap",
    "--ignore=.venv*", "--ignore=var", "--ignore=tests", "--ignore=benchmarks", "--ignore=staticfiles",
]  # fmt: skip


def catalogues() -> dict[Path, list[str]]:
    """Each catalogue without the lines that change with the clock."""
    return {
        path: [line for line in path.read_text().splitlines() if not line.startswith('"POT-Creation-Date')]
        for path in sorted(LOCALE.glob("*/LC_MESSAGES/*.po"))
    }


def main() -> int:
    write = "--write" in sys.argv
    if shutil.which("xgettext") is None:
        sys.stderr.write("message catalogues not checked: GNU gettext is not installed\n")
        return 0
    before = catalogues()
    texts = {path: path.read_text() for path in before}
    subprocess.run(COMMAND, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    stale = [path.relative_to(ROOT) for path, lines in catalogues().items() if before.get(path) != lines]
    if write:
        return 0
    for path, text in texts.items():
        path.write_text(text)
    for path in stale:
        sys.stderr.write(
            f"{path} is out of date: run `python -m tests.support.messages --write` and translate\n"
        )
    sys.stdout.write(f"{len(before)} message catalogues checked\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
