"""Delta tables below core.tables: how commits are written, marked, packed, and rows erased."""
