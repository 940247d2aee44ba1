"""Parameter-server shards: they own the weights of the controller and apply gradients to them."""
