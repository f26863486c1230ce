//! What rows of the cache look like.

use crate::activation::ActivationFormat;
use crate::block::BlockType;

/// A type that cached keys or values can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the field's own names")]
pub enum CacheType {
    /// Single precision, 32 bits an element: what was computed, unrounded.
    F32,
    /// Half precision, 16 bits an element.
    #[default]
    F16,
    /// Blocks of 32 with a scale, 8.5 bits an element.
    Q8_0,
    /// Blocks of 32 with a scale, 4.5 bits an element.
    Q4_0,
}

impl CacheType {
    /// Every type, the most exact first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8_0, Self::Q4_0];

    /// The block type of the rows.
    pub fn block_type(self) -> BlockType {
        match self {
            Self::F32 => BlockType::F32,
            Self::F16 => BlockType::F16,
            Self::Q8_0 => BlockType::Q8_0,
            Self::Q4_0 => BlockType::Q4_0,
        }
    }

    /// The name the field uses.
    pub fn name(self) -> &'static str {
        self.block_type().name()
    }

    /// The type of this name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// The format of the queries that keys of this type are multiplied with.
    pub fn query_format(self) -> ActivationFormat {
        self.block_type().activation()
    }
}

impl core::fmt::Display for CacheType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// Rows of one head in one type; having it proves that the head divides into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRows {
    cache_type: CacheType,
    head_dim: usize,
    row_bytes: usize,
}

impl CacheRows {
    /// Rows of `head_dim` elements. The floats take any number, the block types multiples of 32
    /// (64, 96, 128, 192 and 256, but not 80 or 112).
    ///
    /// # Errors
    /// [`UnevenHead`] if `head_dim` is 0 or does not divide into the blocks of the type.
    pub fn new(cache_type: CacheType, head_dim: usize) -> Result<Self, UnevenHead> {
        match cache_type.block_type().row_bytes(head_dim) {
            Some(row_bytes) if head_dim > 0 => Ok(Self { cache_type, head_dim, row_bytes }),
            _ => Err(UnevenHead { cache_type, head_dim }),
        }
    }

    /// The type of the rows.
    pub fn cache_type(&self) -> CacheType {
        self.cache_type
    }

    /// Elements of a row.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// How many rows `bytes` are.
    ///
    /// # Panics
    /// If they are not whole rows.
    pub fn count(&self, bytes: &[u8]) -> usize {
        assert!(bytes.len().is_multiple_of(self.row_bytes), "{} bytes for {self:?}", bytes.len());
        bytes.len() / self.row_bytes
    }
}

/// A head cannot be cached in a type, because it does not divide into the type's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnevenHead {
    /// The type asked for.
    pub cache_type: CacheType,
    /// Elements of the head.
    pub head_dim: usize,
}

impl core::fmt::Display for UnevenHead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let block_len = self.cache_type.block_type().block_len();
        let Self { cache_type, head_dim } = self;
        write!(
            f,
            "a head of {head_dim} elements does not divide into blocks of {block_len}, which {cache_type} \
             needs; F16 takes any head"
        )
    }
}

impl core::error::Error for UnevenHead {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_make_a_row() {
        for head_dim in [64, 96, 128, 192, 256] {
            for ty in CacheType::ALL {
                let rows = CacheRows::new(ty, head_dim).expect("whole blocks");
                assert_eq!(Some(rows.row_bytes()), ty.block_type().row_bytes(head_dim));
            }
        }
        for head_dim in [80, 112, 1] {
            assert!(CacheRows::new(CacheType::F32, head_dim).is_ok());
            assert!(CacheRows::new(CacheType::F16, head_dim).is_ok());
            for cache_type in [CacheType::Q8_0, CacheType::Q4_0] {
                assert_eq!(CacheRows::new(cache_type, head_dim), Err(UnevenHead { cache_type, head_dim }));
            }
        }
        assert!(CacheRows::new(CacheType::F16, 0).is_err());
        let refusal = UnevenHead { cache_type: CacheType::Q8_0, head_dim: 80 };
        assert_eq!(
            refusal.to_string(),
            "a head of 80 elements does not divide into blocks of 32, which Q8_0 needs; F16 takes any head"
        );
    }

    #[test]
    fn names_lead_back_to_their_type() {
        for ty in CacheType::ALL {
            assert_eq!(CacheType::from_name(&ty.name().to_lowercase()), Some(ty));
        }
        assert_eq!(CacheType::from_name("q4_k"), None);
    }
}
