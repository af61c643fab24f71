"""The registry's gRPC service: requests to operations of the registry, records to messages."""
