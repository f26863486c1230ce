//! The file types a conversion can make: what `--type` names.

use std::str::FromStr;

use gguf_simd::BlockType;

use crate::error::{Error, Result};

/// A GGUF file type: a block type for most tensors, and a recipe for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs, reason = "the field's own names")]
pub enum FileType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q6_K,
    Q5_K_M,
    Q5_K_S,
    Q5_1,
    Q5_0,
    Q4_K_M,
    Q4_K_S,
    Q4_1,
    Q4_0,
    IQ4_NL,
    IQ4_XS,
    NVFP4,
    MXFP4_MOE,
    Q3_K_L,
    Q3_K_M,
    IQ3_M,
    IQ3_S,
    Q3_K_S,
    IQ3_XS,
    IQ3_XXS,
    Q2_K,
    Q2_K_S,
    IQ2_M,
    IQ2_S,
    Q2_0,
    TQ2_0,
    IQ2_XS,
    TQ1_0,
    IQ2_XXS,
    IQ1_M,
    IQ1_S,
    Q1_0,
    /// Every tensor in the type that holds what the source has.
    KEEP,
}

impl FileType {
    /// Every file type of one kind of blocks, the larger files first.
    pub const ALL: [Self; 36] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6_K,
        Self::Q5_K_M,
        Self::Q5_K_S,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_K_M,
        Self::Q4_K_S,
        Self::Q4_1,
        Self::Q4_0,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::NVFP4,
        Self::MXFP4_MOE,
        Self::Q3_K_L,
        Self::Q3_K_M,
        Self::IQ3_M,
        Self::IQ3_S,
        Self::Q3_K_S,
        Self::IQ3_XS,
        Self::IQ3_XXS,
        Self::Q2_K,
        Self::Q2_K_S,
        Self::IQ2_M,
        Self::IQ2_S,
        Self::Q2_0,
        Self::TQ2_0,
        Self::IQ2_XS,
        Self::TQ1_0,
        Self::IQ2_XXS,
        Self::IQ1_M,
        Self::IQ1_S,
        Self::Q1_0,
    ];

    /// The name the field uses, the block type of most tensors, the number in `general.file_type`.
    fn row(self) -> (&'static str, BlockType, u32) {
        match self {
            Self::F32 => ("F32", BlockType::F32, 0),
            Self::F16 => ("F16", BlockType::F16, 1),
            Self::BF16 => ("BF16", BlockType::BF16, 32),
            Self::Q8_0 => ("Q8_0", BlockType::Q8_0, 7),
            Self::Q6_K => ("Q6_K", BlockType::Q6_K, 18),
            Self::Q5_K_M => ("Q5_K_M", BlockType::Q5_K, 17),
            Self::Q5_K_S => ("Q5_K_S", BlockType::Q5_K, 16),
            Self::Q5_1 => ("Q5_1", BlockType::Q5_1, 9),
            Self::Q5_0 => ("Q5_0", BlockType::Q5_0, 8),
            Self::Q4_K_M => ("Q4_K_M", BlockType::Q4_K, 15),
            Self::Q4_K_S => ("Q4_K_S", BlockType::Q4_K, 14),
            Self::Q4_1 => ("Q4_1", BlockType::Q4_1, 3),
            Self::Q4_0 => ("Q4_0", BlockType::Q4_0, 2),
            Self::IQ4_NL => ("IQ4_NL", BlockType::IQ4_NL, 25),
            Self::IQ4_XS => ("IQ4_XS", BlockType::IQ4_XS, 30),
            Self::NVFP4 => ("NVFP4", BlockType::NVFP4, 39),
            Self::MXFP4_MOE => ("MXFP4_MOE", BlockType::MXFP4, 38),
            Self::Q3_K_L => ("Q3_K_L", BlockType::Q3_K, 13),
            Self::Q3_K_M => ("Q3_K_M", BlockType::Q3_K, 12),
            Self::Q3_K_S => ("Q3_K_S", BlockType::Q3_K, 11),
            Self::Q2_K => ("Q2_K", BlockType::Q2_K, 10),
            Self::Q2_K_S => ("Q2_K_S", BlockType::Q2_K, 21),
            Self::IQ3_M => ("IQ3_M", BlockType::IQ3_S, 27),
            Self::IQ3_S => ("IQ3_S", BlockType::IQ3_S, 26),
            Self::IQ3_XS => ("IQ3_XS", BlockType::IQ3_S, 22),
            Self::IQ3_XXS => ("IQ3_XXS", BlockType::IQ3_XXS, 23),
            Self::IQ2_M => ("IQ2_M", BlockType::IQ2_S, 29),
            Self::IQ2_S => ("IQ2_S", BlockType::IQ2_XS, 28),
            Self::IQ2_XS => ("IQ2_XS", BlockType::IQ2_XS, 20),
            Self::IQ2_XXS => ("IQ2_XXS", BlockType::IQ2_XXS, 19),
            Self::IQ1_M => ("IQ1_M", BlockType::IQ1_M, 31),
            Self::IQ1_S => ("IQ1_S", BlockType::IQ1_S, 24),
            Self::Q2_0 => ("Q2_0", BlockType::Q2_0, 41),
            Self::TQ2_0 => ("TQ2_0", BlockType::TQ2_0, 37),
            Self::TQ1_0 => ("TQ1_0", BlockType::TQ1_0, 36),
            Self::Q1_0 => ("Q1_0", BlockType::Q1_0, 40),
            // The type of what nothing holds as it is, and its number.
            Self::KEEP => ("KEEP", BlockType::F16, 1),
        }
    }

    /// The name the field uses.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The type of most tensors.
    pub fn base(self) -> BlockType {
        self.row().1
    }

    /// The number in `general.file_type`.
    pub fn number(self) -> u32 {
        self.row().2
    }

    /// The file type of which most tensors are blocks of `ty`.
    pub fn of_blocks(ty: BlockType) -> Option<Self> {
        Self::ALL.into_iter().find(|file_type| file_type.base() == ty)
    }

    /// Another name the field uses: a K type without its size means the medium one.
    pub fn alias(self) -> Option<&'static str> {
        match self {
            Self::Q5_K_M => Some("Q5_K"),
            Self::Q4_K_M => Some("Q4_K"),
            Self::Q3_K_M => Some("Q3_K"),
            _ => None,
        }
    }

    /// The file type of this name or alias, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        Self::ALL.into_iter().chain([Self::KEEP]).find(|ty| is(ty.name()) || ty.alias().is_some_and(is))
    }
}

impl std::fmt::Display for FileType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FileType {
    type Err = Error;

    /// [`FileType::from_name`], or [`Error::Usage`] with the name that was probably meant and all
    /// supported.
    fn from_str(name: &str) -> Result<Self> {
        Self::from_name(name).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().chain([Self::KEEP]).map(Self::name).collect();
            Error::usage(format!("unknown type {name}; {}", suggestion(name, &all)))
        })
    }
}

/// "did you mean X? Supported: X, Y, Z", where something is close enough to `name`.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let distance = |other: &str| strsim::levenshtein(&plain(name), &plain(other));
    // Who names no kind of a type means the usual one.
    let usual = known.iter().find(|other| plain(other) == plain(name) + "km");
    let near = known.iter().min_by_key(|other| distance(other)).filter(|other| distance(other) <= 1);
    let closest = usual.or(near);
    let all = known.join(", ");
    match closest {
        Some(closest) => format!("did you mean {closest}? Supported: {all}"),
        None => format!("supported: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_in_any_case() {
        for ty in FileType::ALL {
            assert_eq!(FileType::from_name(&ty.name().to_lowercase()), Some(ty));
        }
        assert_eq!(FileType::from_name("q4_k"), Some(FileType::Q4_K_M));
        assert_eq!(FileType::from_name("Q5_K"), Some(FileType::Q5_K_M));
        assert_eq!(FileType::from_name("q3_k"), Some(FileType::Q3_K_M));
        assert_eq!(FileType::from_name("Q2_K"), Some(FileType::Q2_K));
        assert_eq!(FileType::from_name("Q4_K_L"), None);
    }
    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        let message = |name: &str| name.parse::<FileType>().expect_err("no such type").to_string();
        assert!(message("Q4KM").contains("did you mean Q4_K_M?"), "{}", message("Q4KM"));
        assert!(message("q8-0_").contains("did you mean Q8_0?"));
        assert!(
            message("q4").contains("did you mean Q4_K_M?") && message("q6").contains("did you mean Q6_K?")
        );
        assert!(message("fp16").contains("did you mean F16?"));
        assert!(message("int8").starts_with("unknown type int8; supported: F32, F16,"));
    }
}
