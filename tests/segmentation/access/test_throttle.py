"""Wrong passwords cost time, for the account and for the place; nobody is locked out for good."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from segmentation.access import throttle
from segmentation.models import AuditEntry, SignInTries
from tests.segmentation.access.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def fail(knock, times, **how):
    return [knock(password="wrong", **how).status_code for _ in range(times)]


def test_a_right_password_opens_and_is_written_down(ada, knock, client):
    answer = knock()
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200
    entry = AuditEntry.objects.get(action="sign_in")
    assert (entry.actor, entry.object_id) == (ada, str(ada.pk))


def test_the_sixth_try_waits_with_plain_words_even_when_it_is_right(ada, knock, client):
    assert fail(knock, 5) == [200] * 5
    answer = knock()
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 60
    assert "Too many wrong tries. Wait 1 minute" in answer.content.decode()
    assert client.get("/admin/").status_code == 302


def test_the_wait_ends_by_itself_and_grows_to_a_quarter_of_an_hour(ada, knock):
    with time_machine.travel("2026-01-01T10:00Z", tick=False) as clock:
        fail(knock, 5)
        waits = []
        for _ in range(7):
            refused = knock(password="wrong")
            waits.append(int(refused["Retry-After"]))
            clock.shift(timedelta(seconds=waits[-1] + 1))
            assert knock(password="wrong").status_code == 200
        assert waits == [60, 120, 240, 480, 900, 900, 900]
        clock.shift(timedelta(seconds=901))
        assert knock().status_code == 302


def test_tries_during_a_wait_do_not_lengthen_it(ada, knock):
    with time_machine.travel("2026-01-01T10:00Z", tick=False) as clock:
        fail(knock, 5)
        assert fail(knock, 20) == [429] * 20
        clock.shift(timedelta(seconds=61))
        assert knock().status_code == 302


def test_after_a_quiet_while_the_count_begins_anew(ada, knock):
    with time_machine.travel("2026-01-01T10:00Z", tick=False) as clock:
        fail(knock, 4)
        clock.shift(throttle.FORGOTTEN_AFTER + timedelta(seconds=1))
        assert fail(knock, 4) == [200] * 4


def test_a_right_password_ends_the_count(ada, knock):
    for _ in range(3):
        assert fail(knock, 4, address="192.0.2.9") == [200] * 4
        assert knock(address="192.0.2.9", by=Client()).status_code == 302


def test_one_address_cannot_try_many_accounts(db, knock):
    for number in range(throttle.OF_AN_ADDRESS):
        assert knock(f"somebody-{number}", "wrong").status_code == 200
    assert knock("yet-another", "wrong").status_code == 429
    assert knock("yet-another", "wrong", address="198.51.100.7").status_code == 200


def test_many_addresses_cannot_try_one_account_but_its_own_device_still_comes_in(ada, knock, client):
    assert knock().status_code == 302
    client.post(reverse("admin:logout"))
    for number in range(throttle.OF_AN_ACCOUNT):
        knock(password="wrong", address=f"198.51.100.{number}", by=Client())
    assert knock(address="203.0.113.5", by=Client()).status_code == 429
    # The only administrator, at the desk where they signed in before.
    assert knock(address="203.0.113.6").status_code == 302


def test_a_device_that_somebody_else_made_up_is_none(ada, knock, client):
    knock()
    (name,) = [key for key in client.cookies if key.startswith("tw_known_")]
    assert client.cookies[name]["httponly"]
    stranger = Client()
    stranger.cookies[name] = client.cookies[name].value[:-1] + "x"
    fail(knock, 5, by=stranger, address="198.51.100.1")
    assert SignInTries.objects.filter(tries=5).count() == 3  # pair, account, address: no count of a device


def test_a_known_device_has_a_count_of_its_own(ada, knock, client):
    knock()
    client.post(reverse("admin:logout"))
    assert fail(knock, 6) == [200] * 5 + [429]


def test_addresses_of_one_ipv6_line_count_together(ada, knock):
    fail(knock, 3, address="2001:db8::1")
    fail(knock, 2, address="2001:db8::ffff:1")
    assert knock(address="2001:db8::2").status_code == 429
    assert knock(address="2001:db8:0:1::2").status_code == 302


def test_visitors_with_ipv4_are_told_apart_on_a_socket_for_both_kinds(ada, knock):
    fail(knock, 5, address="::ffff:192.0.2.1")
    assert knock(address="::ffff:192.0.2.1").status_code == 429
    assert knock(address="192.0.2.1").status_code == 429
    assert knock(address="::ffff:192.0.2.2").status_code == 302


def test_a_count_that_is_deleted_between_two_statements_is_made_anew(ada, monkeypatch):
    who = throttle.Caller("a" * 64, "b" * 64)
    real, times = SignInTries.objects.bulk_create, []

    def made(*args, **kwargs):
        real(*args, **kwargs)
        if not times:
            SignInTries.objects.filter(pk=who.address).delete()
        times.append(1)

    monkeypatch.setattr(SignInTries.objects, "bulk_create", made)
    assert throttle.take_turn(who, now=timezone.now()).wait_seconds == 0
    assert SignInTries.objects.filter(tries=1).count() == 3


def test_a_device_of_an_earlier_password_is_as_new_as_any_other(ada, knock, client):
    knock()
    client.post(reverse("admin:logout"))
    ada.set_password("another long password")
    ada.save()
    fail(knock, 5)
    assert SignInTries.objects.filter(tries=5).count() == 3  # pair, account, address: no count of a device


def test_whoever_changes_their_password_keeps_their_device(ada, knock, client):
    knock()
    fresh = {"new_password1": "another long password", "new_password2": "another long password"}
    client.post(reverse("admin:password_change"), {"old_password": PASSWORD, **fresh})
    client.post(reverse("admin:logout"))
    fail(knock, 5)
    assert [row.address for row in SignInTries.objects.filter(tries=5)] == [""]  # the device's own


def test_behind_our_proxies_the_address_is_what_the_outermost_of_them_saw(ada, knock, settings):
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.1, 192.0.2.50"}
    fail(knock, 5, address="10.0.0.1", **forged)
    assert knock(address="10.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.2").status_code == 429
    settings.SIGN_IN_PROXIES = 1
    fail(knock, 5, address="10.0.0.2", **forged)
    other = "203.0.113.99, 192.0.2.50"
    assert knock(address="10.0.0.2", HTTP_X_FORWARDED_FOR=other).status_code == 429
    assert knock(address="10.0.0.2", HTTP_X_FORWARDED_FOR="192.0.2.51").status_code == 302


def test_unknown_and_known_names_are_answered_alike(ada, knock):
    def words(answer):
        return answer.status_code, "Please enter the correct" in answer.content.decode()

    assert words(knock(password="wrong")) == words(knock("nobody", "wrong")) == (200, True)
    fail(knock, 5, name="nobody")
    assert knock("nobody").status_code == 429


def test_neither_names_nor_addresses_are_kept(ada, knock):
    fail(knock, 6)
    kept = str(list(SignInTries.objects.values())) + str(list(AuditEntry.objects.values()))
    assert "ada" not in kept
    assert "192.0.2.1" not in kept
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["sign_in.failed"] * 5 + ["sign_in.throttled"]


def test_the_operator_ends_a_wait(ada, knock, capsys):
    fail(knock, 5)
    call_command("unlock_sign_in", "ada@example.com")
    assert knock().status_code == 302
    assert AuditEntry.objects.filter(action="sign_in.unlocked", object_id=str(ada.pk)).exists()
    for given in ([], ["nobody"]):
        with pytest.raises(CommandError):
            call_command("unlock_sign_in", *given)


def test_the_operator_ends_the_wait_of_an_address_and_of_everybody(ada, knock, capsys):
    for options in ({"address": "192.0.2.1"}, {"all": True}):
        fail(knock, 5, name="other", address="192.0.2.1")
        assert knock("other", address="192.0.2.1").status_code == 429
        call_command("unlock_sign_in", **options)
        assert knock("other", address="192.0.2.1").status_code == 200


def test_old_counts_are_pruned(ada, knock):
    fail(knock, 5)
    assert throttle.forget(now=timezone.now()) == 0
    assert throttle.forget(now=timezone.now() + timedelta(hours=3)) == 3


def test_tokens_of_the_rest_door_are_not_held_up(ada, knock, client):
    from tests.crm_integration.api import world

    fail(knock, 6)
    token = world.token()
    answer = client.get("/api/token/", headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR="192.0.2.1")
    assert answer.status_code == 200


@pytest.mark.django_db(transaction=True)
def test_tries_at_the_same_moment_are_all_counted():
    User.objects.create_user("ada", password=PASSWORD)
    who = throttle.Caller("a" * 64, "b" * 64)
    turns = []

    def tried():
        try:
            turns.append(throttle.take_turn(who, now=timezone.now()))
        finally:
            connection.close()

    threads = [threading.Thread(target=tried) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not turn.wait_seconds for turn in turns) == throttle.OF_A_PAIR
    assert len(turns) == 12
