"""Programs that measure the package; none of it is installed."""
