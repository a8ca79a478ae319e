"""Search: a language of filters and orders, compiled to one SQL statement a page.

tokens.py and grammar.py read a filter, vocabulary.py says what may be named in it, order.py reads orders. For runs
conditions.py, lineage.py, comparing.py and patterns.py make conditions of SQL of it, ordering.py orders, statements.py
the statement, paging.py tokens of pages, runs.py the search and found.py what it gives; experiments.py searches
experiments. evaluating.py asks a filter of rows in memory.
"""
