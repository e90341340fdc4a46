"""A twentieth of the attacks, every time; `python -m tests.attacks` makes all of them."""

from __future__ import annotations

import os

import pytest
from django.conf import settings

from tests.attacks import canary, crowd, forgeries, hostile, mutants, receivers, wire
from tests.support.patience import on_this_machine

SHORT = 500
SLOW_CLIENTS = 200
on_sqlite = pytest.mark.skipif(
    "sqlite" not in settings.DATABASES["default"]["ENGINE"],
    reason="the same on every database; it runs with SQLite",
)


@pytest.fixture
def seed():
    """The short form is the same every time; ATTACK_SEED and `python -m tests.attacks` draw others."""
    return int(os.environ.get("ATTACK_SEED", "20101201"))


@pytest.mark.django_db
def test_no_forgery_opens_a_door_or_breaks_it(seed):
    result = forgeries.run(SHORT, seed)
    assert (result.accepted, result.broken, result.valid_refused) == ([], [], [])
    assert result.stored == result.valid > 0


@pytest.mark.django_db
def test_no_signed_body_breaks_the_door_or_the_worker(seed):
    result = hostile.run(SHORT, seed)
    assert (result.refused, result.unexplained) == ([], [])
    assert result.grown_mib < 100


@pytest.mark.django_db(transaction=True)
def test_copies_from_many_senders_are_one_event_each(seed):
    result = crowd.copies(40, seed)
    assert (result.refused, result.sent) == ([], 200)
    assert result.stored == result.recorded == 40


@pytest.mark.django_db(transaction=True)
def test_a_rotation_under_load_refuses_nothing_that_is_valid():
    result = crowd.rotations(2)
    assert (result.refused, result.accepted) == ([], [])
    assert result.sent > 0


@pytest.mark.django_db(transaction=True)
def test_beside_a_receiver_that_fails_the_other_gets_everything():
    result = receivers.run(5, kinds=["500", "no answer"])
    assert (result.lost, result.unsaid) == ([], [])


@on_sqlite
def test_slow_clients_keep_nobody_waiting_and_lengths_that_lie_are_refused(tmp_path):
    with wire.site(tmp_path / "site") as place:
        slow = wire.slow_clients(place, SLOW_CLIENTS, honest=50)
        assert slow.failed == []
        assert slow.p99 < on_this_machine(1)
        assert wire.lengths(place).wrong == []


@pytest.mark.django_db
def test_no_delivery_comes_to_the_canary():
    result = canary.run()
    assert (result.sung, result.elsewhere) == ([], [])
    assert result.control > 0


# --- The attacks can succeed -------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_signature_over_parsed_json_is_found_out(seed):
    with mutants.signs_what_was_parsed():
        assert forgeries.run(SHORT, seed, only="lengthened_body").accepted


@pytest.mark.django_db
def test_a_connection_that_is_trusted_for_ever_is_found_out(seed):
    with mutants.trusts_what_it_keeps():
        assert forgeries.run(SHORT, seed, only="expired_secret").accepted


@pytest.mark.django_db
def test_a_naive_look_at_addresses_is_found_out():
    with mutants.looks_at_names_alone():
        assert canary.run().sung
