"""The orders; customers have no table."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first one."""

    initial = True
    operations = (
        migrations.CreateModel(
            name="Customer",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
            ],
            options={"abstract": False, "managed": False},
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(max_length=64)),
                ("customer", models.CharField(db_index=True, max_length=64)),
                ("total", models.IntegerField()),
            ],
            options={"db_table": "orders", "ordering": ("-id",)},
        ),
    )
