"""Search: a language of filters and orders, compiled to one SQL statement a page."""
