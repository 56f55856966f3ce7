"""The operators' pages: how cameras are, events, drift. A process of its own, which never loads a model.

Here: pages, charts, sessions, live updates; people's marks go through events/store. Not here: scoring (detector),
verdicts (monitoring), the API for programs (serve).
"""
