"""A bottleneck in virtual time: sources, a discipline and a receiver, jiffy by jiffy."""
