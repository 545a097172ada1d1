"""The table of guard rows."""

from __future__ import annotations

from django.db import migrations, models

import zdd_django.models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    """Creates ``zdd_guard``."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Guard",
            fields=[
                ("name", zdd_django.models.NameField(max_length=43, primary_key=True, serialize=False)),
                ("generation", models.BigIntegerField()),
                ("fingerprint", models.TextField()),
                ("operation", models.CharField(max_length=255)),
                ("release", models.CharField(max_length=255)),
                ("created", models.BigIntegerField()),
                ("expires", models.BigIntegerField(db_index=True)),
                ("answer", models.BinaryField(null=True)),
            ],
            options={"db_table": "zdd_guard", "verbose_name": "guard row"},
        ),
    )
