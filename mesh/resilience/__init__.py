"""Whether again (classify), how often (budget), when (backoff), with what bytes (replay). No I/O, no clock."""
