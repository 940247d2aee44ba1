"""The Ray edge: actors that wrap a shard, a controller replica, a child trainer, the ledger."""
