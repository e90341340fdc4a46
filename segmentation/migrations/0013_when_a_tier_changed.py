from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segmentation", "0012_sign_in_and_audit"),
    ]

    operations = [
        migrations.AddField(
            model_name="customer",
            name="tier_changed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        # Nobody has a value yet: the index is built empty, whatever the table holds.
        migrations.AddIndex(
            model_name="customer",
            index=models.Index(
                condition=models.Q(("tier_changed_at__isnull", False)),
                fields=["tier_changed_at"],
                name="customer_by_new_tier",
            ),
        ),
    ]
