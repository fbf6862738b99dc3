"""One promise each, decided from ledgers alone: plain functions from a Run to its violations."""
