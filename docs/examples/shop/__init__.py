"""What the shops have in common: one shop, three frameworks, one scenario."""
