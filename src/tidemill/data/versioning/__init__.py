"""How versions are kept: tables with layers over them, branches, differences, what a writer does."""
