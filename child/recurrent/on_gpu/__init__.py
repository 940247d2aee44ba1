"""The loop over the steps of a cell on a GPU: few, large operations of torch."""
