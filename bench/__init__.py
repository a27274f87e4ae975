"""Measuring clusters: convergence, throughput, and what a node costs at rest."""
