"""Search of hyper-parameters: trials, studies, budgets."""
