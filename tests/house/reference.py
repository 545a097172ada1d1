"""Write the generated pages of the documentation anew: ``make reference``."""

from __future__ import annotations

from tests.house import commands_page, settings_page

for source in (settings_page, commands_page):
    source.PAGE.write_text(source.page(), encoding="utf-8")
    print(f"written: {source.PAGE}")
