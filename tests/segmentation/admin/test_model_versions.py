"""A version's page, and the moves between versions."""

from __future__ import annotations

from segmentation import promotion_policy, registry
from segmentation.dashboard import model_page
from segmentation.models import AuditEntry, ModelSlot, Promotion, PromotionDiff, ScoringRun, Target
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
    assert promotion_policy.compare(churn(), new).reason in html(admin_client.get(address)).replace(
        "&#x27;", "'"
    )
    assert serving() == old
    early = admin_client.post(address, {"reason": "Better at the top.", "classify": "on"}, follow=True)
    assert "still being worked out" in html(early)
    assert serving() == old
    PromotionDiff.objects.update(state="failed", error="No worker could.")
    assert "No worker could." in html(admin_client.get(address))
    admin_client.post(address, {"reason": "Better at the top.", "classify": "on"})
    assert serving() == new
    assert ScoringRun.objects.count() == 1
    move = Promotion.objects.get()
    assert (move.old, move.new, move.reason, move.promoted_by) == (old, new, "Better at the top.", admin_user)
    assert AuditEntry.objects.filter(action="model.promote").count() == 1
    admin_client.post(address, {"reason": "again"})
    assert Promotion.objects.count() == 1


def test_what_a_promotion_changes_is_shown_before_the_button(admin_client):
    old, new = world.version(1), world.version(2)
    world.champion(old)
    buyer = world.customer("K-55")
    address = page("modelversion_promote", new.pk, churn().pk)
    waiting = html(admin_client.get(address))
    assert "data-panel-url" in waiting
    assert "Promote</button>" not in waiting
    panel = page("modelversion_promotion_diff", new.pk, churn().pk)
    assert admin_client.get(panel).status_code == 202
    PromotionDiff.objects.update(
        state="done",
        result={
            "total": 30_000, "looked_at": 10_000, "as_of": "2024-06-02", "changed": 900, "margin": 40,
            "moves": [["stays", "leaves", 900, 40], ["stays", "stays", 29_100, 40]], "sums": None,
            "offers": [["Ten percent", 10, 30, 25, 5, 3]], "priorities": [[2, 4, 12, 2]],
            "cost_minor": [1000, 3000, 200],
            "people": [[buyer.pk, "K-55", "stays", "leaves", "", "Ten percent", 2, 2]],
        },
    )  # fmt: skip
    for text in (html(admin_client.get(panel)), html(admin_client.get(address))):
        assert "900 ± 40 would change class" in text
        assert "likely to stay → likely to stop buying" in text
        assert "(+20.00\xa0GBP ± 2.00\xa0GBP)" in text
        assert page("customer_change", buyer.pk) in text
        assert "Normal → Urgent" in text
        assert "Promote</button>" in text
    admin_client.post(address, {"reason": ""})
    assert serving() == new
    assert not ScoringRun.objects.exists(), "nobody asked to classify"


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
        page("target_change", churn().pk),
        {"name": "Leaves", "is_active": "on", "horizon_days": 5, "min_orders": 1, "promotes": "by_hand"},
    )
    assert (churn().name, churn().horizon_days) == ("Leaves", 90)
