"""Who answers for data, what may be done with it, who sees what, and how it is told to others."""
