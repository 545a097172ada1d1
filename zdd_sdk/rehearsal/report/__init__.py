"""What a rehearsal leaves behind: the table, ``rehearsal.json`` and the HTML page."""
