"""Discovery: the mesh's resources over the xDS delta stream.

`subscription` and `stream` are pure state, `encoding` the bytes, `service` the thin grpc.aio shell.
"""
