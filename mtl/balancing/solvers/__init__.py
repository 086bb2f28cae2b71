"""What the balancing methods compute with."""
