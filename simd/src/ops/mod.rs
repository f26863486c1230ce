//! Operations on float rows: one per file, the same bits on every tier.
