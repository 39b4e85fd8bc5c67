"""Architecture search: distributions, Lipschitz constants, multipliers, expected cost; the methods made of them. Plain torch."""
