"""Whether again (classify), how often (budget), when (backoff), with what bytes (replay); who waits (fair_queue), how
fast (token_bucket), how much at a time (gradient). No I/O, no clock."""
