"""The same as verbs: parse, call one function, show; each ends by naming the next one."""
