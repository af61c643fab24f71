"""The demo: a small shop of real gRPC and TCP services, each behind its own sidecar, and a story told over its traffic.

What lives here: the shop's services (`storefront`, `cart`, `payment`, `stock`: programs of their own), the processes
that run them, the load, and the story with its promises. What this must not know: how the mesh does anything. It uses
the mesh as an operator does, by its commands and its API.
"""
