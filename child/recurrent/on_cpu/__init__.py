"""The loop over the steps of a cell on a CPU: one compiled kernel for all cells."""
