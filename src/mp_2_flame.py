"""Drop-in module for code written against MP_2_FLAME."""
