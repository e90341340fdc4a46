"""A version's page, and the moves between versions."""

from __future__ import annotations

from segmentation import registry
from segmentation.dashboard import model_page
from segmentation.models import AuditEntry, ModelSlot, Promotion, Target
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page


def html(answer):
    return answer.content.decode()


def churn():
    return Target.objects.get(slug="churn")


def serving():
    return ModelSlot.objects.get(target=churn()).champion


def test_figures_stand_beside_baselines_with_their_intervals(admin_client):
    made = world.version(1)
    text = html(admin_client.get(page("modelversion_change", made.pk)))
    assert "0.780" in text
    assert "0.770 to 0.790" in text
    assert "Purchase model (BG/NBD)" in text
    for curve in ("roc", "pr", "reliability", "gains"):
        assert f'data-chart="chart-churn-{curve}"' in text


def test_beaten_means_that_the_paired_interval_excludes_zero_in_the_right_direction():
    (report,) = model_page.reports(world.version(1))
    verdicts = {row.name: row.others[0].verdict for row in report.metrics}
    assert set(verdicts.values()) == {"better"}
    unclear = world.version(2)
    unclear.evaluation["churn"]["differences"]["btyd"]["auc"] = {"value": 0.01, "low": -0.01, "high": 0.03}
    unclear.evaluation["churn"]["differences"]["btyd"]["log_loss"] = {
        "value": 0.03,
        "low": 0.01,
        "high": 0.05,
    }
    (report,) = model_page.reports(unclear)
    assert [row.others[0].verdict for row in report.metrics] == ["", "worse"]


def test_a_version_without_an_evaluation_still_opens(admin_client):
    made = world.version(1)
    made.evaluation = {}
    made.save()
    assert "No evaluation was stored" in html(admin_client.get(page("modelversion_change", made.pk)))


def test_promote_asks_first_and_then_moves_the_champion_once(admin_client, admin_user):
    old, new = world.version(1), world.version(2)
    world.champion(old)
    address = page("modelversion_promote", new.pk, churn().pk)
    assert registry.compare(churn(), new).reason in html(admin_client.get(address)).replace("&#x27;", "'")
    assert serving() == old
    admin_client.post(address, {"reason": "Better at the top."})
    assert serving() == new
    move = Promotion.objects.get()
    assert (move.old, move.new, move.reason, move.promoted_by) == (old, new, "Better at the top.", admin_user)
    assert AuditEntry.objects.filter(action="model.promote").count() == 1
    admin_client.post(address, {"reason": "again"})
    assert Promotion.objects.count() == 1


def test_roll_back_returns_to_the_champion_before(admin_client):
    old, new = world.version(1), world.version(2)
    registry.promote(world.champion(old).target, new)
    address = page("modelversion_roll_back", new.pk, churn().pk)
    assert "Roll back to version 1?" in html(admin_client.get(address))
    answer = admin_client.post(address, {"reason": ""})
    assert answer["Location"] == page("modelversion_change", old.pk)
    assert serving() == old
    assert Promotion.objects.filter(is_rollback=True).count() == 1


def test_what_does_not_serve_cannot_be_rolled_back(admin_client):
    old, new = world.version(1), world.version(2)
    world.champion(old)
    answer = admin_client.post(page("modelversion_roll_back", new.pk, churn().pk), follow=True)
    assert "does not serve" in html(answer)
    assert serving() == old


def test_a_version_is_not_promoted_for_a_target_it_did_not_learn(admin_client):
    made = world.version(1)
    other = Target.objects.get(slug="value_tier")
    assert admin_client.post(page("modelversion_promote", made.pk, other.pk)).status_code == 404
    assert not Promotion.objects.exists()


def test_the_meaning_of_a_learned_target_is_fixed(admin_client):
    world.version(1)
    admin_client.post(
        page("target_change", churn().pk), {"name": "Leaves", "is_active": "on", "horizon_days": 5}
    )
    assert (churn().name, churn().horizon_days) == ("Leaves", 90)
