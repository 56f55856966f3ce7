"""Pure steps of the method: arrays in, arrays out; no files, no clock, no environment."""
