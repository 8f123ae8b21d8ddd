"""The noise ledger: what scores vary by from run to run, and which measurement to buy next."""
