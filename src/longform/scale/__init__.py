"""Past one machine: bulk scoring and serving on engines that others maintain."""
