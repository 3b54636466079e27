"""Tables and figures of the paper and ours; beside the package, not in its wheel."""
