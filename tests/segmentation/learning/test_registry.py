"""Champions, challengers, the way forward and the way back; artifacts that are what they were."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from segmentation import artifact_store, promotion_policy, registry, retention
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.models import (
    ArtifactChunk,
    AuditEntry,
    ModelSlot,
    ModelVersion,
    Promotion,
    ScoringRun,
    Target,
    TrainingRun,
)


def figures(metric="auc", **differences):
    paired = {
        name: {metric: dict(zip(("value", "low", "high"), found, strict=True))}
        for name, found in differences.items()
    }
    return {
        "kind": "binary",
        "rows": 100,
        "primary": metric,
        "metrics": {},
        "baselines": {},
        "differences": paired,
    }


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    (place / "inner").mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    (place / "inner" / "weights.safetensors").write_bytes(bytes(range(256)) * 10_000)
    (place / "inner" / "empty.txt").write_bytes(b"")
    return place


@pytest.fixture
def churn(standard):
    return standard[0]


@pytest.fixture
def register(folder, churn):
    def make(evaluation=None, **fields):
        return registry.register(
            registry.NewVersion(
                algorithm="blend", targets=[churn], directory=folder, features=["recency_days"],
                catalogue_version=CATALOGUE_VERSION, evaluation={"churn": evaluation or figures()},
                data_snapshot={"cutoffs": {"2023-01-01": 10}}, seed=1, **fields,
            )
        )  # fmt: skip

    return make


def test_versions_are_numbered_and_wait_as_challengers(register, churn):
    first, second = register(), register()
    assert (first.number, second.number) == (1, 2)
    assert ModelSlot.objects.get(target=churn).challenger == second
    assert registry.champion(churn) is None


def test_the_first_version_is_promoted_unless_a_baseline_is_clearly_better(register, churn):
    poor = register(figures(btyd=(-0.05, -0.07, -0.03)))
    comparison = promotion_policy.promote_by_policy(poor, [churn])[0]
    assert (comparison.verdict, registry.champion(churn)) == ("fails_baselines", None)
    assert comparison.reason == "It ranks clearly below the baseline btyd: auc -0.050 (-0.070 to -0.030)."
    baseline = register()
    promotion_policy.promote_by_policy(poor, [churn], simpler={"btyd": baseline})
    assert registry.champion(churn) == baseline, "a shop's first training always gives scores"
    ModelSlot.objects.update(champion=None)
    tie = register(figures(btyd=(-0.01, -0.03, 0.01)))
    assert promotion_policy.promote_by_policy(tie, [churn])[0].verdict == "first"
    assert registry.champion(churn) == tie


def test_a_blend_is_told_what_the_simpler_model_of_its_own_training_gained(register, churn):
    run = TrainingRun.objects.create()
    blend, simpler = (
        register(figures(btyd=(-0.05, -0.07, -0.03)), training_run=run),
        register(training_run=run),
    )
    ModelVersion.objects.filter(pk=simpler.pk).update(algorithm="btyd")
    promotion_policy.promote_by_policy(blend, [churn], simpler={"btyd": simpler})
    comparison = promotion_policy.compare(churn, blend)
    assert comparison.verdict == "worse"
    assert comparison.reason.startswith(
        f"Worse than version {simpler.number} on the same customers: auc -0.050"
    )


def test_the_network_of_a_training_is_compared_under_its_place_in_it(register, churn):
    """Whichever network a preset names, the report calls it by its place; its version by what it is."""
    run = TrainingRun.objects.create()
    blend = register(figures(mlp=(0.02, 0.01, 0.03)), training_run=run)
    network = register(training_run=run, config={"learner": "mlp"})
    ModelVersion.objects.filter(pk=network.pk).update(algorithm="customer_net")
    registry.promote(churn, network)
    assert promotion_policy.compare(churn, blend).verdict == "better"


@pytest.mark.parametrize(
    ("difference", "verdict", "promoted"),
    [
        ((0.02, 0.01, 0.03), "better", True),
        ((0.004, -0.004, 0.012), "not_worse", False),
        ((0.004, -0.02, 0.03), "not_worse", False),
        ((0.0, 0.0, 0.0), "not_worse", False),
        ((-0.02, -0.03, -0.01), "worse", False),
        ((-0.008, -0.02, 0.002), "worse", False),
    ],
)
def test_a_challenger_replaces_the_champion_only_for_a_gain(register, churn, difference, verdict, promoted):
    old = register()
    registry.promote(churn, old)
    new = register({**figures(champion=difference), "champion_version": old.pk})
    assert promotion_policy.promote_by_policy(new, [churn])[0].verdict == verdict
    churn.slot.refresh_from_db()
    assert registry.champion(churn) == (new if promoted else old)
    assert churn.slot.challenger == (None if promoted else new)


def test_a_target_may_ask_for_less_or_leave_it_to_people(register, churn):
    old = register()
    registry.promote(churn, old)
    within = {**figures(champion=(0.004, -0.004, 0.012)), "champion_version": old.pk}
    churn.promotes = Target.Promotes.BY_HAND
    churn.save()
    assert promotion_policy.promote_by_policy(register(within), [churn])[0].verdict == "better"
    assert registry.champion(churn) == old, "a person promotes"
    churn.promotes = Target.Promotes.NO_LOSS
    churn.save()
    new = register(within)
    promotion_policy.promote_by_policy(new, [churn])
    assert registry.champion(churn) == new


@pytest.mark.parametrize(("low", "verdict"), [(0.001, "miscalibrated"), (-0.001, "better")])
def test_a_better_ranking_with_less_honest_chances_waits(register, churn, low, verdict):
    old = register()
    registry.promote(churn, old)
    found = {**figures(champion=(0.02, 0.01, 0.03)), "champion_version": old.pk}
    found["differences"]["champion"]["calibration_error"] = {"value": 0.01, "low": low, "high": 0.02}
    assert promotion_policy.promote_by_policy(register(found), [churn])[0].verdict == verdict
    assert (registry.champion(churn) == old) is (verdict == "miscalibrated")


def test_figures_against_an_earlier_champion_do_not_count(register, churn):
    old, between = register(), register()
    new = register({**figures(champion=(0.1, 0.1, 0.1)), "champion_version": old.pk})
    registry.promote(churn, between)
    comparison = promotion_policy.compare(churn, new)
    assert (comparison.verdict, comparison.promotes) == ("unknown", False)
    assert "Train again to compare" in comparison.reason


def test_promotion_and_roll_back_are_recorded_and_restore_the_old_champion(register, churn, admin_user):
    first, second, third = register(), register(), register()
    registry.promote(churn, first)
    registry.promote(churn, second, by=admin_user, reason="looks better")
    registry.promote(churn, third)
    assert registry.previous_champion(churn) == second
    registry.roll_back(churn, by=admin_user, reason="complaints")
    assert registry.champion(churn) == second
    assert registry.previous_champion(churn) == first, "going back twice goes further back, not to and fro"
    registry.roll_back(churn)
    assert registry.champion(churn) == first
    with pytest.raises(registry.RegistryError, match="no earlier champion"):
        registry.roll_back(churn)
    assert list(Promotion.objects.order_by("pk").values_list("new__number", "is_rollback")) == [
        (1, False), (2, False), (3, False), (2, True), (1, True),
    ]  # fmt: skip
    entry = AuditEntry.objects.get(action="model.roll_back", actor=admin_user)
    assert entry.detail == {"target": "churn", "old": 3, "new": 2, "reason": "complaints"}


def test_a_version_cannot_serve_what_it_was_not_trained_for(register, standard, churn):
    version = register()
    with pytest.raises(registry.RegistryError, match="was not trained for “Expected spend”"):
        registry.promote(standard[2], version)
    registry.promote(churn, version)
    with pytest.raises(registry.RegistryError, match="serves “Stops buying” already"):
        registry.promote(churn, version)


def test_a_persons_move_classifies_everybody_and_policy_waits_for_the_next_time(register, churn, admin_user):
    """Pages must not go on showing the scores of the champion before, in either direction."""
    first, second = register(), register()
    promotion_policy.promote_by_policy(first, [churn])
    assert not ScoringRun.objects.exists()
    registry.promote(churn, second, by=admin_user)
    registry.roll_back(churn, by=admin_user)
    runs = ScoringRun.objects.order_by("pk")
    assert [run.pinned_versions for run in runs] == [{"churn": second.pk}, {"churn": first.pk}]
    assert [run.state for run in runs] == ["cancelled", "running"], "the run with the old champion makes way"
    assert runs[1].requested_by == admin_user


def test_files_of_versions_that_never_served_go_after_a_while(register, churn):
    """Kept: who serves, who did, who waits, the members of these, and everything recent."""
    former, member, never = register(), register(), register()
    serving = register(members=[member])
    registry.promote(churn, former)
    registry.promote(churn, serving)
    waiting = register()
    ModelVersion.objects.update(created_at=Now() - timedelta(days=31))
    recent = register()
    ModelSlot.objects.update(challenger=waiting)
    assert retention.prune_models() == 1
    assert retention.prune_models() == 0
    gone = ModelVersion.objects.get(artifact_deleted_at__isnull=False)
    assert gone == never
    assert gone.evaluation["churn"]
    kept = {former, member, serving, waiting, recent}
    assert set(ModelVersion.objects.filter(chunks__isnull=False)) == kept
    for version in kept:
        artifact_store.fetch(version)


def test_a_version_without_its_file_says_so_and_is_not_promoted(register, churn):
    version = register()
    place = artifact_store.fetch(version)
    artifact_store.delete(version)
    version.refresh_from_db()
    assert not place.exists()
    comparison = promotion_policy.compare(churn, version)
    assert (comparison.verdict, comparison.promotes) == ("unknown", False)
    assert "model file of version 1 was deleted" in comparison.reason
    with pytest.raises(registry.RegistryError, match="train again"):
        registry.promote(churn, version)


def test_an_artifact_comes_back_as_it_was_in_pieces_of_a_mebibyte(register, folder, settings):
    version = register()
    sizes = [len(chunk.content) for chunk in version.chunks.filter(file_name="inner/weights.safetensors")]
    assert len(sizes) == 3
    assert max(sizes) == artifact_store.CHUNK_BYTES
    place = artifact_store.fetch(version)
    assert {p.name: p.read_bytes() for p in place.rglob("*") if p.is_file()} == {
        p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert place.name == version.artifact_sha256


def test_a_spoilt_cache_is_fetched_anew(register):
    version = register()
    (artifact_store.fetch(version) / "manifest.json").write_text("something else")
    assert (artifact_store.fetch(version) / "manifest.json").read_text() == "{}"


def test_tampered_rows_are_refused(register):
    version = register()
    ArtifactChunk.objects.filter(file_name="manifest.json").update(content=b"{ }")
    with pytest.raises(artifact_store.ArtifactDamaged, match="version 1 were changed after training"):
        artifact_store.fetch(version)


def test_a_stored_name_cannot_leave_its_folder(register, settings):
    version = register()
    ArtifactChunk.objects.filter(file_name="manifest.json").update(file_name="../../escaped.json")
    with pytest.raises(artifact_store.ArtifactDamaged, match="leads out of its folder"):
        artifact_store.fetch(version)
    assert not list(settings.VAR_DIR.rglob("escaped.json"))


def test_a_failed_registration_leaves_nothing(register, monkeypatch):
    def broken(version, directory):
        raise OSError("disk full")

    monkeypatch.setattr(artifact_store, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        register()
    assert not ModelVersion.objects.exists()
