# The two functions of goodpoints that are used here; it declares no types.
