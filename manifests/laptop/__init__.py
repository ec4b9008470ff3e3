"""A whole cluster of SFS on one machine, from wheels alone: ``make cluster``."""
