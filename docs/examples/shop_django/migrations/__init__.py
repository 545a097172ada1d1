"""How the tables of the shop have come about."""
