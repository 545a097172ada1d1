"""What a rehearsal leaves behind: progress and table on the terminal, ``rehearsal.json`` and one HTML page.

The tables and the progress need the extra ``rehearsal`` and are imported from their modules:
`zdd_sdk.rehearsal.report.table` and `zdd_sdk.rehearsal.report.live`.
"""

from zdd_sdk.rehearsal.report.files import JSON_NAME, PAGE_NAME, encode_summary, read_summary, write_report
from zdd_sdk.rehearsal.report.page import render_page

__all__ = ["JSON_NAME", "PAGE_NAME", "encode_summary", "read_summary", "render_page", "write_report"]
