"""The core: records, graph, store, tables, recipes. It knows no phase."""
