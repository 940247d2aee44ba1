"""Parameter-server shards: they own the weights of the controller and apply gradients to them."""

import os

# gRPC writes about every connection that ends, on the terminal, and reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
