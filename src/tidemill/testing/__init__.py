"""Public conformity suites, one per extension point: subclass one in your tests and give it the fixture it asks for."""
