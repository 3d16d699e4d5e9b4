"""The laptop's commands, a process for each."""

import gc

gc.set_threshold(200_000)  # imports and clients make 160,000 objects that stay: not to be looked through meanwhile
