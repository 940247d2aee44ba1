"""Who searches: the policy, REINFORCE, the ledger of trials, the replica's loop."""
