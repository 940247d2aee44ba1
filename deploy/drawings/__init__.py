"""Architectures as drawings: networks in the manner of Figure 7, cells of Figure 8 of the paper."""
