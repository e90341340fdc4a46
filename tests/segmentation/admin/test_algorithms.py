"""Choosing algorithms and settings in the console, and looking at what came of them beside each other."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from segmentation import targets, training_runs
from segmentation.models import ModelVersion, SearchTrial, Target, TrainingRun
from tests.support import mini_shop

pytestmark = pytest.mark.django_db
TRAIN = "admin:segmentation_trainingrun_train"
COMPARE = "admin:segmentation_trainingrun_compare"


@pytest.fixture
def asked(monkeypatch):
    """Requests are only written down: nothing trains here."""
    found = {}

    def request(wanted, **options):
        found.update(options, targets=[target.slug for target in wanted])
        return TrainingRun.objects.create(config=options["config"])

    monkeypatch.setattr(training_runs, "request", request)
    return found


def form(**changes):
    wanted = [str(target.pk) for target in targets.install()]
    return {"targets": wanted, "preset": "default", "seed": "1", "cutoffs": "", **changes}


def test_algorithms_and_settings_reach_the_run(admin_client, asked):
    data = form(
        algorithms=["gru", "rbf_svm"], imbalance="smote", scaling="standard", encoder="gru", search="5"
    )
    admin_client.post(reverse(TRAIN), data)
    assert asked["algorithms"] == ["gru", "rbf_svm"]
    assert asked["config"] == {"imbalance": "smote", "scaling": "standard", "search": 5}


def test_nothing_chosen_leaves_the_usual_training(admin_client, asked):
    admin_client.post(reverse(TRAIN), form())
    assert asked["algorithms"] == []
    assert asked["config"] == {}


@pytest.mark.parametrize("field", ["algorithms", "imbalance", "loss"])
def test_what_there_is_not_is_refused_in_place(admin_client, asked, field):
    answer = admin_client.post(reverse(TRAIN), form(**{field: ["magic"]}))
    assert answer.status_code == 200
    assert "magic" in answer.content.decode()
    assert asked == {}


def test_an_algorithm_that_does_not_fit_the_target_is_a_sentence(admin_client):
    mini_shop.build(40)
    from segmentation.models import AttributeDefinition

    AttributeDefinition.objects.create(slug="kind", label="Kind", kind="choice", is_label=True)
    kind = targets.make("kind", kind="category", horizon_days=90, attribute="kind")
    answer = admin_client.post(reverse(TRAIN), form(targets=[str(kind.pk)], algorithms=["btyd"]))
    assert "reads order history, which a labelled category does without" in answer.content.decode()
    assert not TrainingRun.objects.exists()


def test_the_form_says_that_resampling_spoils_chances_and_starts_with_what_a_link_asks_for(admin_client):
    targets.install()
    page = admin_client.get(reverse(TRAIN), {"target": "churn", "algorithms": "all"}).content.decode()
    assert "away from its true frequency" in page
    assert len(re.findall(r'name="targets"[^>]*checked', page)) == 1
    assert re.search(r'name="algorithms" value="all"[^>]*checked', page)


def version(run, target, algorithm, *, number, spoiled=False, **figures):
    made = ModelVersion.objects.create(
        number=number,
        algorithm=algorithm,
        training_run=run,
        catalogue_version="1",
        artifact_sha256="0" * 64,
        config={"spoils_calibration": spoiled},
        evaluation={target.slug: {"family": {"roc": [[0, 0], [0.5, 0.8], [1, 1]], **figures}}},
    )
    made.targets.add(target)
    return made


@pytest.fixture
def compared():
    targets.install()
    target = Target.objects.get(slug="churn")
    epochs = [
        {"estimator": "mlp", "epoch": n, "epochs": 3, "train_loss": 1 / n, "valid_loss": 2 / n, "best": True}
        for n in (1, 2, 3)
    ]
    run = TrainingRun.objects.create(state="done", epochs=epochs)
    version(run, target, "logistic", number=1, auc=0.75, log_loss=0.5, fit_seconds=1.0)
    version(run, target, "mlp", number=2, auc=0.78, log_loss=0.6, fit_seconds=20.0, spoiled=True)
    version(run, target, "rfm", number=3, auc=0.70, log_loss=0.7)
    return target, run


def names(page):
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    return re.findall(r"/modelversion/\d+/change/\">([^<]+)</a>", body)


def test_all_algorithms_stand_in_one_table_that_a_heading_sorts(admin_client, compared):
    target, run = compared
    address = reverse(COMPARE)
    page = admin_client.get(address, {"target": target.slug, "run": run.pk}).content.decode()
    assert names(page) == ["Neural network", "Logistic regression", "RFM fifths, a rule"]
    by_loss = admin_client.get(
        address, {"target": target.slug, "run": run.pk, "by": "log_loss"}
    ).content.decode()
    assert names(by_loss) == ["Logistic regression", "Neural network", "RFM fifths, a rule"]
    assert names(
        admin_client.get(address, {"target": target.slug, "by": "nonsense"}).content.decode()
    ) == names(page)
    assert "<strong>0.780</strong>" in page
    assert "not calibrated" in page
    assert "ROC curves" in page
    assert "Learning curves" in page


def test_without_a_training_the_page_says_what_to_do(admin_client):
    page = admin_client.get(reverse(COMPARE), {"target": "none", "run": "x"}).content.decode()
    assert "Train some algorithms" in page


def test_the_page_takes_few_queries_however_many_versions_there_are(
    admin_client, compared, django_assert_max_num_queries
):
    target, run = compared
    for number in range(4, 24):
        version(run, target, "tabm", number=number, auc=0.6)
    admin_client.get(reverse(COMPARE))
    with django_assert_max_num_queries(14):
        admin_client.get(reverse(COMPARE), {"target": target.slug})


def test_the_trials_of_a_search_are_a_table_and_a_curve_on_the_page_of_the_run(admin_client, compared):
    _target, run = compared
    for number, loss in enumerate((0.6, 0.5, None)):
        SearchTrial.objects.create(
            run=run, family="churn", learner="mlp", number=number, fingerprint="f", loss=loss,
            settings={"hidden": [64, 32]} if number else {}, error="" if loss else "came to no finite numbers",
        )  # fmt: skip
    page = admin_client.get(reverse("admin:segmentation_trainingrun_change", args=[run.pk])).content.decode()
    assert "hidden 64×32" in page
    assert "as usual" in page
    assert "came to no finite numbers" in page
    assert "Loss by trial" in page
