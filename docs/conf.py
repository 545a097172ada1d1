"""How Sphinx builds these pages: ``make docs``."""

project = "zdd-sdk"
author = "zdd-sdk contributors"
copyright = "2026, zdd-sdk contributors"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
exclude_patterns = ["examples/**"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = "zdd-sdk"
