"""MLflow's REST protocol over the workspace: its unmodified client logs into the same graph as everything else.

`router.add(app, project)` adds all routes. Each of the other modules has a `ROUTES`: what it answers, with which
struct its requests are read (wire.py), and what it does.
"""
