"""The terms of the tracking objective; see `mp2flame.tracking.objective` for their sum."""
