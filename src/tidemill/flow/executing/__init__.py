"""One execution of a pipeline: its nodes from ready to recorded."""
