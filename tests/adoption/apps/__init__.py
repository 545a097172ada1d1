"""One application per framework, as the stock framework runs it and as it runs with the SDK.

``ADOPT_STEP`` is ``none`` or a step, ``ADOPT_SOURCE`` says where the framework keeps its sessions, and
``ADOPT_LEGACY_URL`` and ``ADOPT_DIRECTORY`` where that is. Every one has the same four routes, and answers with
what is in the session then: ``user`` and the fields.
"""
