"""The first page, and the words on all of them."""

from __future__ import annotations

import pytest
from django.urls import reverse

from segmentation import counts, roles
from segmentation.dashboard import words
from segmentation.models import Alert, AuditEntry, Shop, TrainingRun
from segmentation.starter_set import LIKELY_TO_LEAVE
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page


def html(answer):
    return answer.content.decode()


def home(client):
    return client.get(reverse("admin:index"))


def test_an_empty_shop_is_told_what_to_do_next(admin_client):
    steps = home(admin_client).context["steps"]
    assert [(step.title, step.is_done) for step in steps] == [
        ("Import orders", False),
        ("Train", False),
        ("Classify", False),
    ]
    assert all(step.url for step in steps)


def test_a_running_shop_shows_its_numbers_instead(admin_client):
    world.shop_with_everything()
    answer = home(admin_client)
    assert answer.context["steps"] == []
    text = html(answer)
    # In a narrow card the currency may go to the next line, so here it is a plain space.
    assert '<div class="tw-figure">123 GBP</div>' in text
    assert "Look here" in text
    assert "Training #" in text


def test_counts_agree_with_the_customers():
    gives = world.offer()
    world.customer(
        tier="high", churn_probability=1.0, future_value_minor=100, priority=4, current_offer=gives
    )
    world.customer(tier="low", churn_probability=0.0, future_value_minor=50)
    world.customer(tier="", churn_probability=None, future_value_minor=None)
    survivor = world.customer(tier="low", churn_probability=0.35, future_value_minor=0)
    world.customer(merged_into=survivor)
    found = counts.read()
    assert (found.customers, found.scored, found.future_value_minor) == (4, 3, 150)
    assert found.tiers == {"high": 1, "low": 2}
    assert (found.risk_bins[0], found.risk_bins[7], found.risk_bins[19]) == (1, 1, 1)
    assert found.priorities == {2: 3, 4: 1}
    assert found.offers == {None: 3, gives.pk: 1}


def test_the_menu_marks_the_open_page(admin_client):
    for address, title in (
        (page("trainingrun_train"), "Train"),
        (page("trainingrun_changelist"), "Training runs"),
    ):
        groups = admin_client.get(address).context["sidebar_navigation"]
        active = [str(item["title"]) for group in groups for item in group["items"] if item["active"]]
        assert active == [title]


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (None, "–"),
        (0.0, "likely to stay (0 %)"),
        (0.35, "may stop buying (35 %)"),
        (0.82, "likely to stop buying (82 %)"),
        (1.0, "likely to stop buying (100 %)"),
    ],
)
def test_risk_is_said_in_words(probability, said):
    assert words.risk(probability) == said


def test_money_follows_the_currency():
    assert words.money(123456, "GBP") == "1,234.56\u00a0GBP"
    assert words.money(123456, "JPY") == "123,456\u00a0JPY"
    assert words.money(None, "GBP") == "–"


def test_roles_are_repaired_and_permissions_of_others_are_kept():
    from django.contrib.auth.models import Permission

    analyst = next(group for group in roles.install() if group.name == "Analyst")
    before = set(analyst.permissions.values_list("codename", flat=True))
    foreign = Permission.objects.get(content_type__app_label="auth", codename="view_user")
    analyst.permissions.add(foreign, Permission.objects.get(codename="view_contactdata"))
    analyst.permissions.remove(Permission.objects.get(codename="add_trainingrun"))
    roles.install()
    assert set(analyst.permissions.values_list("codename", flat=True)) == before | {"view_user"}


def test_the_roles_command_names_what_it_made(capsys):
    from django.core.management import call_command

    call_command("install_roles")
    assert "Service agent" in capsys.readouterr().out


def test_the_shop_is_one_row_that_opens_at_once(admin_client):
    assert admin_client.get(page("shop_changelist"))["Location"] == page("shop_change", 1)
    answer = admin_client.post(
        page("shop_change", 1),
        {
            "name": "Candles", "base_currency": "EUR", "time_zone": "Mars/Base", "season_start_month": 1,
            "profiling_basis": "consent",
        },
    )  # fmt: skip
    assert "is not a time zone" in html(answer)
    assert Shop.get().name == "My shop"


def test_alerts_are_resolved_by_who_may(client, admin_client):
    alert = Alert.objects.create(key="k", message="Look here")
    action = {"action": "resolve", "_selected_action": [alert.pk]}
    client.force_login(world.person("Auditor"))
    client.post(page("alert_changelist"), action)
    alert.refresh_from_db()
    assert alert.resolved_at is None
    client.force_login(world.person("Analyst"))
    client.post(page("alert_changelist"), action)
    alert.refresh_from_db()
    assert alert.resolved_at is not None
    assert AuditEntry.objects.filter(action="resolved", object_id=str(alert.pk)).count() == 1


def test_alerts_stand_on_home_for_who_may_see_them(client):
    Alert.objects.create(key="k", message="Look here")
    client.force_login(world.person("Service agent"))
    assert "Look here" not in html(home(client))
    client.force_login(world.person("Analyst"))
    assert "Look here" in html(home(client))


def test_home_counts_as_likely_to_stop_who_the_list_says_is(admin_client):
    for probability in (0.64, 0.65, 0.69, 1.0):
        world.customer(churn_probability=probability)
    figures = {figure.label: figure.value for figure in home(admin_client).context["figures"]}
    listed = admin_client.get(page("customer_changelist"), {"risk": "leaves"}).context["cl"].result_count
    assert figures["Likely to stop buying (65 % or more)"] == "3" == str(listed)


def test_the_starter_segment_holds_whom_the_console_calls_likely_to_stop():
    assert words.RISK_BANDS[-1].low == LIKELY_TO_LEAVE


def test_every_page_tells_the_time_of_the_shop(admin_client):
    Shop.objects.update_or_create(pk=1, defaults={"time_zone": "Asia/Tokyo"})
    at = "2024-05-01T16:30:00Z"
    AuditEntry.objects.create(action="looked", at=at)
    TrainingRun.objects.create(preset="fast", state="running", started_at=at)
    assert "05/02/2024 1:30 a.m." in html(admin_client.get(page("auditentry_changelist")))
    assert "May 2, 2024, 1:30 a.m." in html(admin_client.get(page("trainingrun_changelist")))
