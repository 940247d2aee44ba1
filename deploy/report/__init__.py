"""One page about a search, to be looked at in a browser: `nasrl report`."""
