"""Fails when something installed has a licence that a product under Apache-2.0 cannot ship beside."""

from __future__ import annotations

import json
import subprocess
import sys

# Copyleft that reaches programs which merely use the library; the lesser licences (LGPL, MPL) do not.
FORBIDDEN = ("AGPL", "AFFERO", "SSPL", "BUSL", "COMMONS CLAUSE", "NON-COMMERCIAL", "PROPRIETARY")
STRONG = ("GPL", "GENERAL PUBLIC LICENSE")
LESSER = ("LGPL", "LESSER")
# Development tools that never ship with the product may be anything that is open.
NOT_SHIPPED = {"pip", "setuptools", "hypothesis"}


def refused(name: str, licence: str) -> bool:
    text = licence.upper()
    if name in NOT_SHIPPED:
        return False
    if any(word in text for word in FORBIDDEN):
        return True
    alternatives = [part for part in text.replace(";", " OR ").split(" OR ") if part.strip()]
    strong = [
        part for part in alternatives if any(w in part for w in STRONG) and not any(w in part for w in LESSER)
    ]
    return bool(alternatives) and len(strong) == len(alternatives)


def main() -> int:
    listing = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = json.loads(listing.stdout)
    bad = [package for package in packages if refused(package["Name"], package["License"])]
    for package in bad:
        sys.stderr.write(
            f"{package['Name']} {package['Version']}: {package['License']} does not fit Apache-2.0\n"
        )
    sys.stdout.write(f"{len(packages)} licences checked, {len(bad)} refused\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
