"""What CRMs hold of ours is read back; differences are shown, and pushed again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.urls import reverse

from crm_integration import drift, outbox
from crm_integration.adapters import registry
from crm_integration.comparing import CannotCompare
from crm_integration.models import Connection, DriftCheck, OutboundMessage, PushedRecord
from segmentation.jobs import Job
from segmentation.models import Alert, AuditEntry, Shop
from tests.crm_integration import fixtures
from tests.crm_integration.pushing.helpers import decide, people, settle
from workers import sweeps

pytestmark = pytest.mark.django_db


def read_back(row, *, sample=None, period="p"):
    check, _new = drift.start(row, period=period, sample=sample)
    drift.work(check.pk)
    check.refresh_from_db()
    return check


@pytest.fixture
def written(kind, crm_api, row):
    made = people(kind, crm_api, 3, tier="high", churn_probability=0.82)
    decide(*made)
    settle()
    return made


def test_what_stands_as_written_does_not_differ(kind, crm_api, row, written):
    check = read_back(row)
    assert (check.state, check.compared, check.differing, check.gone) == ("done", 3, 0, 0)
    assert not Alert.objects.filter(key=f"drift-{row.pk}", resolved_at=None).exists()


def test_what_was_edited_there_differs_and_is_put_right(kind, crm_api, row, written):
    reference = kind.reference(written[1], 102)
    kind.edit(crm_api, reference, "tier", "platinum")
    if kind.tags:
        kind.tags_of(crm_api, reference).discard("tierwise:tier-high")
        kind.tags_of(crm_api, reference).add("tierwise:old-segment")
    check = read_back(row)
    assert (check.compared, check.differing) == (3, 1)
    assert Alert.objects.filter(key=f"drift-{row.pk}", resolved_at=None).exists()
    crm_api.asked.clear()
    assert drift.push_again(row) == 1
    outbox.deliver_due()
    assert len(crm_api.asked) == 1
    assert kind.name("churn") not in str(crm_api.asked[0].content) or kind.slug == "segment"
    assert kind.fields(crm_api, reference)[kind.name("tier")] == "high"
    if kind.tags:
        ours = {tag for tag in kind.tags_of(crm_api, reference) if tag.startswith("tierwise:")}
        assert ours == {"tierwise:tier-high"}
    settle()
    assert read_back(row, period="q").differing == 0
    assert not Alert.objects.filter(key=f"drift-{row.pk}", resolved_at=None).exists()
    assert AuditEntry.objects.filter(action="connection.pushed_again").exists()


def test_what_is_being_written_just_now_is_not_taken_for_what_was_read(kind, crm_api, row, written):
    PushedRecord.objects.update(differs=True, held={"fields": {}, "tags": []}, attempted={"fields": {}})
    before = list(PushedRecord.objects.values_list("pk", "values"))
    assert drift.push_again(row) == 0
    assert list(PushedRecord.objects.values_list("pk", "values")) == before


def test_a_record_that_is_gone_there_is_told(kind, crm_api, row, written):
    kind.remove(crm_api, kind.reference(written[0], 101))
    assert read_back(row).gone == 1
    assert PushedRecord.objects.filter(gone_at__isnull=False).count() == 1


def test_a_reading_that_cannot_be_made_alerts_staff_until_one_can(kind, crm_api, row, written):
    credentials = row.api_credentials
    Connection.objects.update(api_credentials="")
    assert read_back(row, period="a").state == "failed"
    failed = Alert.objects.filter(key=f"reading-failed-{row.pk}", resolved_at=None)
    assert "could not be compared" in failed.get().message
    row.api_credentials = credentials
    row.save()
    assert read_back(row, period="b").state == "done"
    assert not failed.exists()


def test_a_list_that_is_not_there_says_of_no_record_that_it_is_gone(kind, crm_api, row, written, monkeypatch):
    if kind.slug not in {"woocommerce", "espocrm"}:
        pytest.skip("asks for its records one by one, or at a vendor's own address")
    monkeypatch.setattr(crm_api, "answer", lambda request: (404, {}, {}))
    check = read_back(row)
    assert (check.state, check.gone) == ("failed", 0)
    assert "Check the address" in Alert.objects.get(key=f"reading-failed-{row.pk}").message


def test_a_sample_takes_those_first_whose_turn_is_longest_ago(kind, crm_api, row, written):
    first = read_back(row, sample=2)
    assert (first.compared, PushedRecord.objects.filter(checked_at=None).count()) == (2, 1)
    read_back(row, sample=1, period="q")
    assert not PushedRecord.objects.filter(checked_at=None).exists()


def test_a_reading_goes_on_where_it_was_interrupted(kind, crm_api, row, written, monkeypatch):
    adapter = type(registry.get(kind.slug))
    monkeypatch.setattr(adapter, "pushing", replace(adapter.pushing, batch=2))
    check, _new = drift.start(row, period="p", sample=None)
    drift.work(check.pk, seconds=0)
    check.refresh_from_db()
    assert (check.state, check.compared) == ("queued", 2)
    drift.work(check.pk)
    check.refresh_from_db()
    assert (check.state, check.compared) == ("done", 3)


def test_what_is_being_written_is_not_compared(kind, crm_api, row, written):
    PushedRecord.objects.update(attempted={"fields": {}})
    assert read_back(row).compared == 0


def test_the_page_shows_differences_and_its_buttons_work(
    admin_client, kind, crm_api, row, written, nudges, django_capture_on_commit_callbacks
):
    kind.edit(crm_api, kind.reference(written[1], 102), "tier", "platinum")
    page = reverse("admin:crm_integration_connection_change", args=[row.pk])
    with django_capture_on_commit_callbacks(execute=True):
        url = reverse("admin:crm_integration_connection_read_back", args=[row.pk])
        assert admin_client.get(url).status_code == 405
        admin_client.post(url, {"all": "1"})
    (check,) = DriftCheck.objects.all()
    assert check.sample is None
    assert (Job.READ_BACK, {"check_id": check.pk}) in nudges
    drift.work(check.pk)
    shown = admin_client.get(page).content.decode()
    assert "platinum" in shown
    assert "Push again" in shown
    admin_client.post(reverse("admin:crm_integration_connection_push_again", args=[row.pk]))
    outbox.deliver_due()
    assert kind.fields(crm_api, kind.reference(written[1], 102))[kind.name("tier")] == "high"
    assert "platinum" not in admin_client.get(page).content.decode()


def test_the_command_reads_back_and_pushes(kind, crm_api, row, written):
    kind.edit(crm_api, kind.reference(written[1], 102), "tier", "platinum")
    out = StringIO()
    call_command("read_back", "crm", "--push", stdout=out)
    assert "3 records read back, 1 differ, 0 are gone" in out.getvalue()
    assert "1 customers are written again" in out.getvalue()
    assert OutboundMessage.objects.filter(state="queued").count() == 1
    with pytest.raises(CommandError, match="no connection"):
        call_command("read_back", "nobody")


def test_each_night_a_sample_is_read_back_once(kind, crm_api, row, written):
    zone = Shop.get().zone
    with time_machine.travel(datetime(2026, 12, 1, 4, tzinfo=zone), tick=False):
        sweeps.start_nightly_readings()
    assert not DriftCheck.objects.exists()
    for hour in (5, 12, 23):
        with time_machine.travel(datetime(2026, 12, 1, hour, tzinfo=zone), tick=False):
            sweeps.start_nightly_readings()
    (check,) = DriftCheck.objects.all()
    assert (check.sample, check.period) == (drift.SAMPLE, "2026-12-01")


def test_a_receiver_of_webhooks_cannot_be_read_back(db):
    plain = fixtures.connection("hook", url="https://hook.example.com/")
    with pytest.raises(CannotCompare):
        drift.start(plain, period="p", sample=None)
    assert drift.start_all(period="p") == 0
