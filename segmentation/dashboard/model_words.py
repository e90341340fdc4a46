"""What figures, learners and facts of a model version are called."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.dashboard.words import Text
from segmentation.models import ModelVersion

METRICS: dict[str, tuple[Promise, Promise]] = {
    "auc": (
        gettext_lazy("Ranking (AUC)"),
        gettext_lazy(
            "How often a customer who leaves is ranked above one who stays; 0.5 is chance, 1 is perfect."
        ),
    ),
    "average_precision": (
        gettext_lazy("Average precision"),
        gettext_lazy("How pure the top of the list is; chance is the share of customers who leave."),
    ),
    "log_loss": (gettext_lazy("Log loss"), gettext_lazy("Punishes confident mistakes; lower is better.")),
    "calibration_error": (
        gettext_lazy("Calibration error"),
        gettext_lazy("How far “30 %” is from three in ten; lower is better."),
    ),
    "brier": (
        gettext_lazy("Brier score"),
        gettext_lazy("Mean squared error of the chance; lower is better."),
    ),
    "accuracy": (gettext_lazy("Accuracy"), gettext_lazy("Share of customers put in the right class.")),
    "weighted_f1": (
        gettext_lazy("F1, by size of classes"),
        gettext_lazy("As above, each class counting by how many customers are of it."),
    ),
    "macro_precision": (
        gettext_lazy("Precision, mean of classes"),
        gettext_lazy("Of those put in a class, how many belong there."),
    ),
    "macro_recall": (
        gettext_lazy("Recall, mean of classes"),
        gettext_lazy("Of those who belong in a class, how many are put there."),
    ),
    "weighted_precision": (
        gettext_lazy("Precision, by size of classes"),
        gettext_lazy("Of those put in a class, how many belong there; large classes count more."),
    ),
    "weighted_recall": (
        gettext_lazy("Recall, by size of classes"),
        gettext_lazy("Of those who belong in a class, how many are put there; large classes count more."),
    ),
    "macro_f1": (
        gettext_lazy("F1, mean of classes"),
        gettext_lazy("Every class counts the same, also a rare one."),
    ),
    "macro_f1_argmax": (
        gettext_lazy("F1 of the likeliest class"),
        gettext_lazy("The same if simply the likeliest class were chosen."),
    ),
    "qwk": (
        gettext_lazy("Tier agreement (QWK)"),
        gettext_lazy("Agreement with the true tier; being two tiers off costs four times as much as one."),
    ),
    "qwk_argmax": (
        gettext_lazy("Agreement of the likeliest tier"),
        gettext_lazy("The same if simply the likeliest tier were chosen."),
    ),
    "spearman": (
        gettext_lazy("Rank correlation"),
        gettext_lazy("How well the order by spend is met; 1 is perfect."),
    ),
    "gini": (
        gettext_lazy("Value ranking (Gini)"),
        gettext_lazy("How much of the spend the top of the list holds, beside a perfect list."),
    ),
    "mae": (gettext_lazy("Mean error"), gettext_lazy("Typical error a customer, in the shop's currency.")),
    "rmse": (
        gettext_lazy("Root mean square error"),
        gettext_lazy("Large errors count more; lower is better."),
    ),
    "bias": (
        gettext_lazy("Error of the total"),
        gettext_lazy("By how much the expected total was above (+) or below (−) the real one."),
    ),
    "coverage": (
        gettext_lazy("Inside the interval"),
        gettext_lazy("Share of customers whose real spend was within the stated interval."),
    ),
    "qini": (
        gettext_lazy("Effect ranking (Qini)"),
        gettext_lazy(
            "Orders gained for each customer by giving the offer to the most moved first; a random order is 0."
        ),
    ),
    "auuc": (
        gettext_lazy("Area under the uplift curve (AUUC)"),
        gettext_lazy("The same with the effect of giving it to anybody counted in."),
    ),
    "effect": (
        gettext_lazy("Effect on everybody"),
        gettext_lazy("How much likelier the offer made an order, over all customers tested on."),
    ),
}
LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "brier", "mae", "rmse"})
BASELINES: dict[str, Promise] = {
    "btyd": gettext_lazy("Purchase model (BG/NBD)"),
    "logistic": gettext_lazy("Logistic regression"),
    "lightgbm": gettext_lazy("LightGBM"),
    "champion": gettext_lazy("Champion then"),
    "random": gettext_lazy("Random order"),
    "churn_first": gettext_lazy("Likeliest to leave first"),
}
ALGORITHMS: dict[str, Promise] = {
    **BASELINES,
    "rfm": gettext_lazy("RFM fifths, a rule"),
    "linear_svm": gettext_lazy("Support vector machine, linear"),
    "rbf_svm": gettext_lazy("Support vector machine, RBF"),
    "decision_tree": gettext_lazy("Decision tree"),
    "random_forest": gettext_lazy("Random forest"),
    "mlp": gettext_lazy("Neural network"),
    "tabm": gettext_lazy("Neural network ensemble (TabM)"),
    "ft_transformer": gettext_lazy("FT-Transformer"),
    "autoencoder": gettext_lazy("Autoencoder features"),
    "conv": gettext_lazy("Convolutions over events"),
    "lstm": gettext_lazy("LSTM over events"),
    "gru": gettext_lazy("GRU over events"),
    "transformer": gettext_lazy("Transformer over events"),
    "customer_net": gettext_lazy("CustomerNet: table and events"),
    "blend": gettext_lazy("Blend of several models"),
    "voting": gettext_lazy("Vote of several models"),
    "stacking": gettext_lazy("Weighted blend of several models"),
    "clusters": gettext_lazy("Groups of similar customers"),
    "anomaly": gettext_lazy("Isolation forest and autoencoder"),
    "next_products": gettext_lazy("Products bought next"),
    "t_learner": gettext_lazy("T-learner: a model for each arm"),
    "x_learner": gettext_lazy("X-learner: each arm's model asked about the other"),
    "class_transformation": gettext_lazy("Class transformation"),
    "two_head": gettext_lazy("Neural network with a head for each arm"),
}
SNAPSHOT: dict[str, Promise] = {
    "rows": gettext_lazy("Training rows"),
    "train_rows": gettext_lazy("Training rows"),
    "customers": gettext_lazy("Customers"),
    "events": gettext_lazy("Events"),
    "cutoffs": gettext_lazy("Days learned from"),
    "test_rows": gettext_lazy("Rows tested on"),
    "test_rows_repeated": gettext_lazy("Rows tested on that look like a training row"),
    "test_sha256": gettext_lazy("Fingerprint of the test"),
    "tier_cuts": gettext_lazy("Tiers are cut at"),
    "test_cutoff": gettext_lazy("Day tested on"),
    "hash": gettext_lazy("Data fingerprint"),
    "sha256": gettext_lazy("Data fingerprint"),
    "as_of": gettext_lazy("Data before"),
}
# What customers are grouped by where a model is judged on parts of them.
GROUPS: dict[str, Promise] = {
    "orders": gettext_lazy("orders"),
    "country": gettext_lazy("country"),
    "channel": gettext_lazy("channel"),
    "tenure": gettext_lazy("days since first known"),
}


def algorithm(name: str) -> Text:
    return ALGORITHMS.get(name, name)


def version(made: ModelVersion) -> str:
    """“Version 5 · Blend of several models”."""
    number = _("Version %(number)s") % {"number": made.number}
    return f"{number} · {algorithm(made.algorithm)}"
