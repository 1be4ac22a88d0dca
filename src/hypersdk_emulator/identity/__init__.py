"""Who calls: users, keys, tokens, signatures."""
