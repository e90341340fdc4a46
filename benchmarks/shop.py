"""One grown shop, measured part after part: the whole batch with both models, then what needs a classified shop."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import batch, data, due, latency, pages, report, segments, setup, webhooks

AFTER = {"due": due, "segments": segments, "pages": pages, "webhooks": webhooks, "latency": latency}


def main() -> None:
    options = _options()
    models = ("network", "blend") if "batch" in options.only else ("champions",)
    for model in models:
        url = data.sqlite(options.customers) if options.sqlite else data.postgres(options.customers)
        _in_a_process(url, model, options)


def _in_a_process(url: str, model: str, options: argparse.Namespace) -> None:
    """Django knows one database a process."""
    last = model != "network"
    try:
        setup.run(
            "benchmarks.shop", "--here", "--model", model, "--customers", str(options.customers),
            "--only", *(options.only if last else ["batch"]), *(["--sqlite"] if options.sqlite else []), url=url,
        )  # fmt: skip
    finally:
        data.drop(url)


def here(options: argparse.Namespace) -> None:
    import django

    django.setup()
    measured = "batch" in options.only
    classified = batch.measure(batch.Wanted(options.customers, options.model, floor=measured, again=measured))
    if measured:
        report.show(classified, batch.lines(classified))
    for name, part in AFTER.items():
        if name in options.only:
            result: dict[str, Any] = part.measure() | {"customers": options.customers}
            report.show(result, part.lines(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--only", nargs="+", default=["batch", *AFTER])
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--here", action="store_true", help="on the database of the environment")
    parser.add_argument("--model", default="champions")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _options()
    here(chosen) if chosen.here else main()
