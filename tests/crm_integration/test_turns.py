"""Two workers at one connection, and what a killed one leaves behind."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from crm_integration import aside, outbox, pushing, turns
from crm_integration.models import OutboundMessage
from segmentation import leases, presence
from segmentation.models import Customer, LeaseState
from segmentation.news import News
from tests.crm_integration import fake_vendor, fixtures
from tests.crm_integration.fixtures import decided, decision
from tests.crm_integration.pushing.kinds import KINDS
from tests.crm_integration.vendors.woocommerce import FakeWooCommerce
from tests.support.patience import wait_until
from tests.support.processes import worker

pytestmark = pytest.mark.django_db(transaction=True)

TOGETHER = 0.3  # seconds that a worker waits for the other one at the point where they would meet


def stage(count):
    outbox.stage(decided(*(decision(f"c-{number}") for number in range(count))))


def at_once(*works):
    """Run each in a thread with a database connection of its own."""

    def run(work):
        try:
            work()
        finally:
            database.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.fixture
def meeting(monkeypatch):
    """Workers wait for each other between seeing that nobody is there and claiming, as long as two can be there."""
    both = threading.Barrier(2)
    take = leases.claim

    def claim(*args, **options):
        with suppress(threading.BrokenBarrierError):
            both.wait(TOGETHER)
        return take(*args, **options)

    monkeypatch.setattr(leases, "claim", claim)
    return both


@dataclass
class CountingShop(FakeWooCommerce):
    """Knows how many requests were with it at once; each waits a moment for a second one."""

    now: int = 0
    most_at_once: int = 0
    lock: Any = field(default_factory=threading.Lock)
    second: threading.Event = field(default_factory=threading.Event)
    hold: threading.Event = None

    def answer(self, request):
        with self.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
            if self.now > 1:
                self.second.set()
        if self.hold is not None:
            self.hold.wait(60)
        else:
            self.second.wait(TOGETHER)
        answer = super().answer(request)
        with self.lock:
            self.now -= 1
        return answer


@pytest.fixture
def wares(settings, monkeypatch):
    """A CRM whose records are written to, and its connection."""
    with fake_vendor.running(CountingShop()) as fake:
        fake_vendor.take_the_place_of_all(fake, settings, monkeypatch)
        kind = next(kind for kind in KINDS if kind.slug == "woocommerce")
        yield fake, kind, kind.connect()


def people(wares, count):
    fake, kind, _row = wares
    for number in range(count):
        person = Customer.objects.get_or_create(reference=f"c-{number}")[0]
        kind.knows(fake, person, 101 + number)


def test_two_workers_never_write_to_one_crm_at_once(wares, meeting, monkeypatch):
    fake, _kind, row = wares
    monkeypatch.setattr(pushing, "batch_of", lambda connection: 1)
    people(wares, 4)
    stage(4)
    at_once(*[lambda: outbox.deliver_due(row.pk)] * 2)
    assert (fake.most_at_once, len(fake.asked)) == (1, 4)
    assert set(OutboundMessage.objects.values_list("state", flat=True)) == {"done"}


def test_while_a_message_is_on_its_way_only_its_customer_waits(crm):
    row = fixtures.connection("crm", url=crm.url)
    stage(1)
    older = OutboundMessage.objects.get()
    customer = Customer.objects.get()
    Customer.objects.update(tier="low")
    outbox.stage([News(customer.pk)])
    newer = OutboundMessage.objects.latest("pk")
    OutboundMessage.objects.filter(pk=older.pk).update(
        state=LeaseState.RUNNING,
        lease_until=timezone.now() + timedelta(seconds=15),
        started_at=timezone.now(),
        process=presence.mine(),
    )
    outbox.stage(decided(decision("c-other")))
    outbox.deliver_due(row.pk)
    newer.refresh_from_db()
    assert newer.state == LeaseState.QUEUED, "the older message about this customer is still on its way"
    assert OutboundMessage.objects.get(customer__reference="c-other").state == LeaseState.DONE


def test_a_receiver_that_was_slow_is_hardly_waited_for_until_it_is_quick_again(crm, monkeypatch):
    row = fixtures.connection("crm", url=crm.url)
    waits, real = [], aside.Aside.result

    def result(self, *, wait, otherwise):
        waits.append(wait)
        found = real(self, wait=60, otherwise=otherwise)
        if len(waits) > 1:
            return found
        otherwise(found)
        return None

    monkeypatch.setattr(aside.Aside, "result", result)
    for number in range(3):
        outbox.stage(decided(decision(f"c-{number}")))
        outbox.deliver_due(row.pk)
    assert waits == [outbox.PATIENCE, outbox.SHORT_PATIENCE, outbox.PATIENCE]
    assert set(OutboundMessage.objects.values_list("state", flat=True)) == {LeaseState.DONE}


def test_what_kills_its_workers_is_parked_without_those_that_were_claimed_with_it(crm, monkeypatch):
    row = fixtures.connection("crm", url=crm.url)
    stage(4)
    poison = OutboundMessage.objects.order_by("pk")[1].pk
    prepared = outbox.prepared

    def deadly(messages):
        if poison in {message.pk for message in messages}:
            raise SystemExit  # as a killed process: nothing after it runs
        return prepared(messages)

    monkeypatch.setattr(outbox, "prepared", deadly)
    for _worker in range(outbox.MAX_ATTEMPTS):
        with suppress(SystemExit):
            outbox.deliver_due(row.pk)
        OutboundMessage.objects.filter(state="running").update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
    outbox.deliver_due(row.pk)
    assert OutboundMessage.objects.get(pk=poison).state == LeaseState.FAILED
    others = OutboundMessage.objects.exclude(pk=poison)
    assert set(others.values_list("state", "attempts")) == {("done", 2)}


WORKER = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from django.conf import settings
from crm_integration.adapters.woocommerce import WooCommerceAdapter
settings.OUTBOUND_ALLOW, settings.JOB_SENDER = [{pair!r}], "tests.support.jobs.record"
WooCommerceAdapter.api_root = {root!r}
from crm_integration import outbox
outbox.deliver_due({key})
"""


def _killed_at_work(row, fake, is_reached):
    """A worker that has sent the first message and waits for the answer, killed; the message as it left it."""
    with worker(WORKER.format(pair=fake.pair, root=fake.root, key=row.pk)):
        wait_until(is_reached, seconds=60)
        stuck = OutboundMessage.objects.get()
        assert stuck.state == LeaseState.RUNNING
        OutboundMessage.objects.update(started_at=timezone.now() - timedelta(seconds=5))
        assert turns.is_taken(row), "it lives, and waits for an answer"
    wait_until(lambda: not turns.is_taken(row))
    # However long this machine took: the claim still stands.
    OutboundMessage.objects.update(lease_until=timezone.now() + timedelta(seconds=60))
    return stuck


def _others_go_on(row, stuck):
    """Somebody else is told at once, the killed worker's customer when its claim has run out, and then the newest."""
    Customer.objects.update(tier="low")
    outbox.stage([News(stuck.customer_id)])
    outbox.stage(decided(decision("c-1")))
    outbox.deliver_due(row.pk)
    later = OutboundMessage.objects.filter(pk__gt=stuck.pk)
    assert dict(later.values_list("customer__reference", "state")) == {"c-0": "queued", "c-1": "done"}
    OutboundMessage.objects.filter(pk=stuck.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    outbox.deliver_due(row.pk)
    states = list(OutboundMessage.objects.order_by("pk").values_list("state", flat=True))
    assert states == ["cancelled", "done", "done"]


def test_a_killed_worker_holds_up_nobody_but_its_own_customer_at_a_receiver(crm):
    row = fixtures.connection("crm", url=crm.url)
    let_go = threading.Event()
    crm.answers = [lambda handler: let_go.wait(60), (200, {}, b"")]
    stage(1)
    stuck = _killed_at_work(row, crm, lambda: crm.requests)
    let_go.set()
    _others_go_on(row, stuck)


def test_a_killed_worker_holds_up_nobody_but_its_own_customer_at_a_crm(wares):
    fake, kind, row = wares
    people(wares, 2)
    stage(1)
    fake.hold = threading.Event()
    stuck = _killed_at_work(row, fake, lambda: fake.asked)
    fake.hold.set()
    _others_go_on(row, stuck)
    assert kind.fields(fake, "101")["tierwise_tier"] == "low"


ALIVE = """
import os, sys, time, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from segmentation import presence
open({path!r}, "w").write(str(presence.mine()))
time.sleep(300)
"""


def test_a_process_is_known_to_live_until_it_is_killed(tmp_path):
    path = tmp_path / "number"
    with worker(ALIVE.format(path=str(path))):
        wait_until(lambda: path.exists() and path.read_text(), seconds=60)
        number = int(path.read_text())
        assert presence.is_any_alive({number})
    wait_until(lambda: not presence.is_any_alive({number}))
    assert presence.is_any_alive({number, presence.mine()})


def test_a_number_is_drawn_anew_where_its_mark_was_lost(monkeypatch):
    number = presence.mine()
    assert presence.mine() == number
    assert presence.is_any_alive({number})
    presence.leave()
    wait_until(lambda: not presence.is_any_alive({number}))
    assert presence.mine() != number
    assert presence.is_any_alive({None}), "of a process without a number nobody knows"
    assert not presence.is_any_alive(set())


def test_a_file_that_is_thrown_away_before_it_is_locked_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(presence, "folder", lambda: tmp_path)
    (tmp_path / ".nfs0001").touch()
    lock, thrown_away = presence.fcntl.flock, []

    def late(file, how):
        if not thrown_away:
            thrown_away.extend(path for path in tmp_path.iterdir() if path.name.isdecimal())
            thrown_away[0].unlink()
        lock(file, how)

    monkeypatch.setattr(presence.fcntl, "flock", late)
    mark = presence._File()
    assert str(mark.number) != thrown_away[0].name
    assert mark.is_kept()
    assert presence._is_file_locked(mark.number)
    mark.leave()


def test_without_a_mark_only_time_tells(monkeypatch, crm):
    monkeypatch.setattr(presence, "_new_mark", lambda: None)
    presence.leave()
    row = fixtures.connection("crm", url=crm.url)
    stage(1)
    outbox.deliver_due(row.pk)
    assert OutboundMessage.objects.get().process is None
    assert OutboundMessage.objects.get().state == LeaseState.DONE
    OutboundMessage.objects.update(
        state="running",
        started_at=timezone.now() - timedelta(seconds=5),
        lease_until=timezone.now() + timedelta(seconds=60),
    )
    assert turns.is_taken(row)
