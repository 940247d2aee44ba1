"""Code generated from proto/ps/rpc by `make proto`; nothing here is edited by hand."""
