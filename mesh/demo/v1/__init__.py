"""Code generated from `proto/mesh/demo/v1`; `make gen` writes it anew."""
