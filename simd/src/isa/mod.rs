//! CPU features as proof tokens, and the few helpers per CPU family.
