from django.db import migrations, models


class Migration(migrations.Migration):
    """Texts with the same words are counted up to a bound, however many there are: they are found by both."""

    dependencies = [("segmentation", "0013_when_a_tier_changed")]

    operations = [
        migrations.AddIndex(
            model_name="eventtext",
            index=models.Index(
                fields=["text_hash", "repeats"],
                condition=models.Q(("text_hash", ""), _negated=True),
                name="text_by_hash_and_repeats",
            ),
        ),
        migrations.RemoveIndex(model_name="eventtext", name="text_by_hash"),
    ]
