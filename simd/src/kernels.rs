//! The function table of a CPU: scalar first, each better tier overwrites.
