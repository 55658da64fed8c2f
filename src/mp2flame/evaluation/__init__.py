"""How far mappings are from the truth, by face region, jaw and gaze."""
