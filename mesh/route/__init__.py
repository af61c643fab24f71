"""From a request to the service it is for. No I/O."""
