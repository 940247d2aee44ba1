"""What is searched for: spaces, architectures as torch modules, data sets, training."""
