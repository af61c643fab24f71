"""Traces: OTLP comes in (`intake`), is kept in a bounded SQLite file (`store`) and read back (`render`).

`service` is the grpc.aio shell.
"""
