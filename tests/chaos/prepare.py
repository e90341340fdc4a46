"""Run in a process of its own (`python -m tests.chaos.prepare`): a small shop in a fresh database.

Prints the signing secret of its connection, which receives events and sends decisions to the address given.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--deliver-to", required=True)
    arguments.add_argument("--customers", type=int, default=320)
    arguments.add_argument("--champion", action="store_true")
    options = arguments.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ["JOB_SENDER"] = "tests.support.jobs.record"  # nobody works yet

    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)

    from crm_integration import signatures
    from crm_integration.models import Connection
    from segmentation import starter, targets
    from tests.support import mini_shop

    shop = mini_shop.build(options.customers, today=datetime.now(UTC).date())
    shop.frozen_on = None
    shop.save()
    starter.install()
    targets.install()
    if options.champion:
        _train()
    _classify()
    secret = signatures.generate_secret()
    Connection.objects.create(
        slug="shop", name="Shop", inbound_secret=secret, sends_outbound=True,
        outbound_url=options.deliver_to, outbound_secret=signatures.generate_secret(),
    )  # fmt: skip
    print(secret)  # noqa: T201


def _train() -> None:
    from segmentation import targets, training, training_runs
    from tests.chaos.work import QUICK

    run = training_runs.request(targets.active(None), preset="fast", config=QUICK)
    training.run(training_runs.claim(run.pk))


def _classify() -> None:
    """Everybody has their first decision before there is anybody to tell: what comes later is little, and quick."""
    from segmentation import scoring_runs

    run = scoring_runs.start()
    while (shard := scoring_runs.claim_shard(run.pk)) is not None:
        scoring_runs.run_shard(shard)
    scoring_runs.finish(run.pk)


if __name__ == "__main__":
    main()
