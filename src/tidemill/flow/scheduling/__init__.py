"""When pipelines are executed, and by which processes."""
